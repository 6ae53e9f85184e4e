"""`python -m local down`: ends the stack, also one whose supervisor was killed."""

from __future__ import annotations

import asyncio

from local.services.process import ProcessIdentity, end_all
from local.stack.supervise import end_leftovers
from local.state_directory import StateDirectory

_SUPERVISOR_GRACE_SECONDS = 15


async def take_down(directory: StateDirectory) -> str:
    """End everything that `up` started; what was done, in a sentence. Repeating it is harmless."""
    supervisor = await _find_supervisor(directory)
    was_up = supervisor is not None and supervisor.alive()
    if supervisor is not None:
        # It ends its children itself; should it hang, its death ends them or the record does.
        await end_all([supervisor], _SUPERVISOR_GRACE_SECONDS)
    leftovers = await end_leftovers(directory)
    directory.forget()
    if was_up:
        return "The stack is down."
    if leftovers:
        return f"The supervisor was gone; ended what it had left: {', '.join(leftovers)}."
    return "Nothing is up."


async def _find_supervisor(directory: StateDirectory) -> ProcessIdentity | None:
    """The recorded one; one that has just taken the lock gets a moment to write its record."""
    for _ in range(50):
        supervisor, _services = directory.recorded()
        if (supervisor is not None and supervisor.alive()) or not directory.is_locked():
            return supervisor
        await asyncio.sleep(0.05)
    return None
