"""Plain classes where the worker library expects the generated protobuf ones.

The library is handed the module it builds its answers from; without gRPC any object with these
attributes will do.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar


class Message(SimpleNamespace):
    """A message: its fields are its keyword arguments."""


class StatusResult(Message):
    """Whether a request to the worker succeeded."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1


class BindingInfo(Message):
    """A binding's type, data type and direction."""

    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2
    undefined: ClassVar[int] = 0


setattr(BindingInfo, "in", 0)  # a keyword in Python, a direction in the protocol


class RpcException(Message):
    """An exception in the app: message and stack trace."""


class RpcFunctionMetadata(Message):
    """One indexed function."""


class RpcRetryOptions(Message):
    """A function's retry policy."""


class WorkerMetadata(Message):
    """Which worker this is."""


class WorkerInitResponse(Message):
    """Answer to the worker's start."""


class FunctionMetadataResponse(Message):
    """The indexed functions."""
