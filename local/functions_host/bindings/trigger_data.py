"""The values that a trigger provides to binding expressions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.functions_host.bindings.expressions import Data
    from local.functions_host.worker.functions import Function
    from local.functions_host.worker.worker import Datum


def trigger_data(function: Function, datum: Datum | None, metadata: Mapping[str, Datum]) -> Data:
    """Return the trigger's values by name in lower case.

    As on Azure these are the trigger's metadata; a queue message's text as `queueTrigger`; route
    and query parameters, `query` and `headers` of a request; and the properties of a message,
    request body or event that is a JSON object in a text.
    """
    found: dict[str, Any] = {}
    for name, item in metadata.items():
        if item.type in ("string", "int", "json"):
            found[name.lower()] = _value(item)
    text = _text(function, datum)
    if function.kind == "queueTrigger":
        found["queuetrigger"] = text
    found |= _properties(text)
    if datum is not None and function.kind == "httpTrigger":
        request = datum.value
        query, headers, route = (
            {name: item.value for name, item in request[part].items()}
            for part in ("query", "headers", "params")
        )
        found |= {name.lower(): value for name, value in (query | route).items()}
        found |= {"query": query, "headers": headers}
    found["sys"] = {"methodname": function.name}
    return found


def _text(function: Function, datum: Datum | None) -> str | None:
    """Return the text of the trigger's value; None if the value is no text."""
    if datum is None:
        return None
    if function.kind == "httpTrigger":
        body: bytes = datum.value["body"].value
        return body.decode("utf-8", "replace")
    return datum.value if datum.type in ("string", "json") else None


def _properties(text: str | None) -> dict[str, Any]:
    """Return the properties of a JSON object, without arrays and nulls."""
    if text is None or not text.lstrip().startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {
        name.lower(): value
        for name, value in found.items()
        if value is not None and not isinstance(value, list)
    }


def _value(datum: Datum) -> Any:
    return json.loads(datum.value) if datum.type == "json" else datum.value
