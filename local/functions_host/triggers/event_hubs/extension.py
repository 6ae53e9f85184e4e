"""The versions of the Event Hubs extension whose form of events the local host can give."""

from __future__ import annotations

from typing import Literal, get_args

type Extension = Literal["6.5.1", "6.5.2"]

EXTENSIONS: tuple[str, ...] = get_args(Extension.__value__)
DEFAULT_EXTENSION: Extension = "6.5.1"
