"""The responses of HTTP functions."""

from __future__ import annotations

from typing import Any

import pytest

from local.functions_host.triggers.http.endpoints import to_response
from local.functions_host.worker.functions import Function
from local.functions_host.worker.worker import Datum, Result

TEXT = Datum("hello", "string")


def _function(*outputs: tuple[str, str]) -> Function:
    found: tuple[dict[str, Any], ...] = tuple({"name": n, "type": kind} for n, kind in outputs)
    return Function("f", "id", {"type": "httpTrigger", "name": "req"}, found, None)


@pytest.mark.parametrize(
    ("outputs", "value", "values", "status", "body"),
    [
        ([], None, {}, 200, b""),
        ([("res", "http")], None, {}, 200, b""),
        ([("$return", "http")], Datum(None, None), {}, 200, b""),
        ([("$return", "queue")], TEXT, {}, 200, b""),
        ([("$return", "http")], TEXT, {}, 200, b"hello"),
        (
            [("$return", "queue"), ("res", "http")],
            Datum("x", "string"),
            {"res": TEXT},
            200,
            b"hello",
        ),
    ],
)
def test_only_the_http_output_is_the_response(
    outputs: list[tuple[str, str]],
    value: Datum | None,
    values: dict[str, Datum],
    status: int,
    body: bytes,
) -> None:
    result = Result(ok=True, value=value, outputs=values)
    response = to_response(_function(*outputs), result)
    assert (response.status_code, response.body) == (status, body)
