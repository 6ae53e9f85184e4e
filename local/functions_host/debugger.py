"""The debugger on the terminal of `host --debug`, and the port for a debugger in an editor."""

from __future__ import annotations

import importlib
import logging
import os
import pdb
import signal
import sys
import threading
from types import FrameType
from typing import Any

from local.functions_host.errors import HostError

DEBUG_VARIABLE = "BREAKWATER_DEBUG"
"""The variable that `host --debug` sets to 1: the app then has no time limits."""

_log = logging.getLogger("Host.Debugger")
_prompt = threading.RLock()


class TerminalDebugger(pdb.Pdb):
    """A pdb whose `quit` stops the host, so that the event is delivered again.

    Quitting raises `bdb.BdbQuit` in the function. Ctrl-C at the prompt also quits. Functions in
    several threads may stop at the same time, but only one of them has the prompt.
    """

    def __init__(self) -> None:
        # pdb would replace the host's handler of Ctrl-C after `continue`.
        super().__init__(nosigint=True)
        self.prompt = "(breakwater) "

    def interaction(self, *arguments: Any, **options: Any) -> None:
        """Read commands from the terminal until one continues the function."""
        with _prompt:
            before = _interrupt_by_exception()
            try:
                super().interaction(*arguments, **options)
            except KeyboardInterrupt:
                self.do_quit("")
            finally:
                if before is not None:
                    signal.signal(signal.SIGINT, before)

    def _cmdloop(self) -> None:
        # pdb's own loop catches KeyboardInterrupt and shows the prompt again.
        self.cmdloop()

    def do_quit(self, arg: str) -> bool:
        """Stop the host; the function ends with BdbQuit, and its event is delivered again."""
        self.message("The host stops. Its unfinished events are delivered again.")
        os.kill(os.getpid(), signal.SIGTERM)
        self._user_requested_quit = True
        self.set_quit()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool:  # noqa: N802 - pdb's name
        """Quit at the end of standard input."""
        self.message("")
        return self.do_quit(arg)


def _interrupt_by_exception() -> Any:
    """Raise KeyboardInterrupt at Ctrl-C; return the earlier handler, or None in a thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGINT, signal.default_int_handler)


def open_debuggers(port: int | None) -> None:
    """Let `breakpoint()` open a debugger: an attached editor, else the terminal.

    An editor's debugger that runs already keeps its own hook, and PYTHONBREAKPOINT has its usual
    meaning.

    Args:
        port: a loopback port to which an editor can attach, 0 for any free port; None: no port.

    Raises:
        HostError: debugpy is not installed, or the port is taken.
    """
    is_free = sys.breakpointhook is sys.__breakpointhook__ and not os.environ.get(
        "PYTHONBREAKPOINT"
    )
    if port is not None:
        listen(port)  # replaces the hook by one that ignores breakpoint() without an editor
    if is_free:
        sys.breakpointhook = _stop_here


def _stop_here(*_arguments: Any, **_options: Any) -> None:
    frame: FrameType | None = sys._getframe().f_back
    debugpy = sys.modules.get("debugpy")
    if debugpy is None or not debugpy.is_client_connected():
        TerminalDebugger().set_trace(frame)
        return
    # As debugpy.breakpoint(), which would stop in this function.
    sys.modules["pydevd"].settrace(
        suspend=True,
        trace_only_current_thread=True,
        patch_multiprocessing=False,
        stop_at_frame=frame,
        notify_stdin=False,
    )


def listen(port: int) -> int:
    """Listen on a loopback port for an editor that speaks the Debug Adapter Protocol.

    Args:
        port: the port; 0 takes any free port.

    Returns:
        The port.

    Raises:
        HostError: debugpy is not installed, or the port is taken.
    """
    # debugpy warns at each start that the standard library's frozen modules cannot be debugged.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        debugpy: Any = importlib.import_module("debugpy")
    except ImportError:
        raise HostError(
            "--debugpy-port needs the package debugpy; install it with `pip install debugpy`"
        ) from None
    try:
        _, taken = debugpy.listen(("127.0.0.1", port))
    except (RuntimeError, OSError) as error:
        raise HostError(
            f"debugpy cannot listen on port {port}: {error}; choose another port with "
            "--debugpy-port (0 takes any free port)"
        ) from None
    _log.info("Editors can attach to 127.0.0.1:%d (Debug Adapter Protocol)", taken)
    return int(taken)
