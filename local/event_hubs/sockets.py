"""Listening sockets, with an error message that names the port."""

from __future__ import annotations

import os
import socket


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port; 0 picks a free port.

    Raises:
        OSError: the port cannot be opened; `strerror` names the port and the reason.
    """
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"cannot listen on port {port} of {host}: {reason}") from error
