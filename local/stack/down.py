"""`python -m local down`: stops the stack, also after its supervisor was killed."""

from __future__ import annotations

import asyncio

from local.services.process import ProcessIdentity, end_all
from local.stack.supervise import end_leftovers
from local.state_directory import StateDirectory

_SUPERVISOR_GRACE_SECONDS = 15


async def take_down(directory: StateDirectory) -> str:
    """End every process that `up` started and return a sentence about it; safe to repeat."""
    supervisor = await _find_supervisor(directory)
    was_up = supervisor is not None and supervisor.alive()
    if supervisor is not None:
        # The supervisor ends its children. If it hangs and is killed, the kernel ends the children,
        # or `end_leftovers` does.
        await end_all([supervisor], _SUPERVISOR_GRACE_SECONDS)
    leftovers = await end_leftovers(directory)
    directory.forget()
    if was_up:
        return "The stack is down."
    if leftovers:
        names = ", ".join(leftovers)
        return f"The supervisor was not running; ended its remaining services: {names}."
    return "The stack is not running."


async def _find_supervisor(directory: StateDirectory) -> ProcessIdentity | None:
    """Return the recorded supervisor; one that has just taken the lock gets 2.5 s to record."""
    for _ in range(50):
        supervisor, _services = directory.recorded()
        if (supervisor is not None and supervisor.alive()) or not directory.is_locked():
            return supervisor
        await asyncio.sleep(0.05)
    return None
