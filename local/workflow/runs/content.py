"""The conversion of HTTP bodies to values of expressions, and back.

Source: "Handle content types in Azure Logic Apps",
learn.microsoft.com/azure/logic-apps/logic-apps-content-type. JSON is parsed, and text stays text.
Every other content is an object with the base64 of the bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from local.workflow.expressions.values import Json


def decode(body: bytes, content_type: str) -> Json:
    """Return the value of a body.

    Only application/json is parsed as JSON. The documentation names no type such as
    application/cloudevents+json, so that these types are base64 here, which is harder to read.

    Raises:
        ValueError: the body is not valid JSON, although its type is.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return json.loads(body) if body else None
    if kind.startswith("text/"):
        return body.decode(errors="replace")
    if not body:
        return None
    return {
        "$content-type": content_type or "application/octet-stream",
        "$content": base64.b64encode(body).decode(),
    }


def encode(body: Json, headers: Mapping[str, str]) -> tuple[bytes | None, dict[str, str]]:
    """Return the bytes of a body and the headers with its content type."""
    named = {name.lower() for name in headers}
    if body is None:
        return None, dict(headers)
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    added = {} if "content-type" in named else {"content-type": kind}
    return text.encode(), dict(headers) | added
