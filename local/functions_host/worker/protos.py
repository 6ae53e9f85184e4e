"""Plain classes in place of the generated protobuf classes that the worker library expects.

The library receives this module as a parameter and builds its answers from the classes. Without
gRPC any object with these attributes is enough.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar


class Message(SimpleNamespace):
    """A message whose fields are its keyword arguments."""


class StatusResult(Message):
    """The success or failure of a request to the worker."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1


class BindingInfo(Message):
    """A binding's type, data type and direction."""

    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2
    undefined: ClassVar[int] = 0


setattr(BindingInfo, "in", 0)  # `in` is a keyword in Python, but a direction in the protocol


class RpcException(Message):
    """An exception in the app: message and stack trace."""


class RpcFunctionMetadata(Message):
    """One indexed function."""


class RpcRetryOptions(Message):
    """A function's retry policy."""


class WorkerMetadata(Message):
    """The description of the worker."""


class WorkerInitResponse(Message):
    """Answer to the worker's start."""


class FunctionMetadataResponse(Message):
    """The indexed functions."""
