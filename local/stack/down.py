"""`python -m local down`: stops the stack, also after its supervisor was killed."""

from __future__ import annotations

import asyncio

from local.services.process import ProcessIdentity, end_all
from local.stack.supervise import end_leftovers
from local.state_directory import AlreadyUpError, StateDirectory

_SUPERVISOR_GRACE_SECONDS = 20


async def take_down(directory: StateDirectory, *, wipe: bool = False) -> str:
    """End every process that `up` started and return sentences about it; safe to repeat.

    Args:
        directory: the stack's directory.
        wipe: delete the data, which the next `up` would continue with.
    """
    supervisor = await _find_supervisor(directory)
    was_up = supervisor is not None and supervisor.alive()
    if supervisor is not None:
        # The supervisor ends its children. If it hangs and is killed, the kernel ends the children,
        # or `end_leftovers` does.
        await end_all([supervisor], _SUPERVISOR_GRACE_SECONDS)
    leftovers = await end_leftovers(directory)
    directory.forget()
    data = _data(directory, wipe=wipe)
    if was_up:
        return f"The stack is down.{data}"
    if leftovers:
        names = ", ".join(leftovers)
        return f"The supervisor was not running; ended its remaining services: {names}.{data}"
    return f"The stack is not running.{data}"


def _data(directory: StateDirectory, *, wipe: bool) -> str:
    """Delete the data if `wipe` is true; return a sentence about the data, if there is any."""
    if not directory.has_data():
        return ""
    if not wipe:
        return f" Its data is kept in {directory.data} for the next `up`; `down --wipe` deletes it."
    try:
        with directory.lock(attempts=20):
            directory.wipe_data()
    except AlreadyUpError:
        return " Its data is not deleted, because another `up` has begun."
    return " Its data is deleted."


async def _find_supervisor(directory: StateDirectory) -> ProcessIdentity | None:
    """Return the recorded supervisor; one that has just taken the lock gets 2.5 s to record."""
    for _ in range(50):
        supervisor, _services = directory.recorded()
        if (supervisor is not None and supervisor.alive()) or not directory.is_locked():
            return supervisor
        await asyncio.sleep(0.05)
    return None
