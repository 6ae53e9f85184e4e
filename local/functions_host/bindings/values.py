"""The values of output bindings as the bodies of messages, events and blobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.functions_host.bindings.errors import BindingFailedError

if TYPE_CHECKING:
    from local.functions_host.worker.worker import Datum


def bodies(datum: Datum | None) -> list[bytes]:
    """Return a body for each element of an array, else a single one; none without a value.

    A text that is a JSON array counts as one, as on Azure.
    """
    if datum is None or datum.value is None:
        return []
    if isinstance(datum.value, bytes):
        return [datum.value]
    value = datum.value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, list):
            return [datum.value.encode()]
    if not isinstance(value, list):
        return [_text(value).encode()]
    return [("" if each is None else _text(each)).encode() for each in value]


def content(datum: Datum | None) -> bytes | None:
    """Return the content of a blob; None without a value.

    Raises:
        BindingFailedError: the value is neither text, bytes, nor a list or dict.
    """
    if datum is None or datum.value is None:
        return None
    if isinstance(datum.value, bytes):
        return datum.value
    if isinstance(datum.value, (str, list, dict)):
        return _text(datum.value).encode()
    raise BindingFailedError(
        f"a blob takes str, bytes, a list or a dict, not {type(datum.value).__name__}"
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
