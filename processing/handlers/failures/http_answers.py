"""The status and the Retry-After of the HTTP answer that an error stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from processing.handlers.failures.causes import attribute
from processing.handlers.failures.kind import FailureKind
from processing.handlers.raised import describe

# httpx, requests, azure-core, websockets, elasticsearch, openai: `status_code`, of the error or of
# its response; aiohttp, Kubernetes: `status`; stripe: `http_status`.
_STATUS_NAMES = ("status_code", "status", "http_status")
_WITH_CODE = frozenset({"urllib.error.HTTPError", "google.api_core.exceptions.GoogleAPICallError"})
"""The classes whose `code` is an HTTP status; other libraries have other codes."""
_TOO_MANY = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The codes with which AWS limits the rate of calls, often with HTTP status 400."""
_NEVER_HEAL = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
_GIVEN_UP = re.compile(r"too many ([45]\d\d) error responses")
_PAUSES = {"retry-after-ms": 1000, "x-ms-retry-after-ms": 1000, "retry-after": 1}
"""The headers that name a pause, the most exact first, and their units in one second."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer with status 400 to 599."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> FailureKind:
        """The kind of failure that the status means.

        Status 401 and 403 are ordinary: a wrong secret needs an operator, and the circuit's count
        of failures calls one. Status 501 and 505 are ordinary, because the server never changes
        its answer.
        """
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            return FailureKind.THROTTLED
        if self.status == HTTPStatus.REQUEST_TIMEOUT:
            return FailureKind.DEPENDENCY
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and self.status not in _NEVER_HEAL:
            return FailureKind.DEPENDENCY
        return FailureKind.EXHAUSTED

    @property
    def retry_after(self) -> object:
        """The pause in seconds that the headers name: a number, an unread text, or None."""
        for name, units in _PAUSES.items():
            if (text := self.headers.get(name)) is None:
                continue
            if units == 1:
                return text
            try:
                return float(text) / units
            except ValueError:
                continue
        return None


def answer_of(error: BaseException, names: Set[str]) -> HttpAnswer | None:
    """Return the answer that an error stands for, or None.

    Args:
        error: the error of any client.
        names: the names of its classes.
    """
    response = attribute(error, "response")
    if isinstance(response, Mapping):
        return _aws_answer(response)
    holders = (error, response, attribute(error, "meta"))
    for holder, name in ((holder, name) for holder in holders for name in _STATUS_NAMES):
        if (status := _failed(attribute(holder, name))) is not None:
            return HttpAnswer(status, _headers(*holders))
    if names & _WITH_CODE and (status := _failed(attribute(error, "code"))) is not None:
        return HttpAnswer(status, _headers(*holders))
    if "urllib3.exceptions.ResponseError" in names:
        return _given_up(describe(error))
    return None


def _failed(status: object) -> int | None:
    """Return the status of a failed request, or None for anything else."""
    return int(status) if isinstance(status, int) and 400 <= status <= 599 else None


def _aws_answer(response: Mapping[str, Any]) -> HttpAnswer | None:
    """Return the answer in the `response` of a botocore ClientError."""
    details, reason = response.get("ResponseMetadata"), response.get("Error")
    details = details if isinstance(details, Mapping) else {}
    code = reason.get("Code") if isinstance(reason, Mapping) else None
    headers = _lower(details.get("HTTPHeaders"))
    if code in _TOO_MANY:
        return HttpAnswer(HTTPStatus.TOO_MANY_REQUESTS, headers)
    status = _failed(details.get("HTTPStatusCode"))
    return None if status is None else HttpAnswer(status, headers)


def _given_up(text: str) -> HttpAnswer | None:
    """Return the answer after which urllib3 gave up: "too many 503 error responses"."""
    found = _GIVEN_UP.fullmatch(text)
    return HttpAnswer(int(found[1])) if found else None


def _headers(*holders: object) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for holder in holders:
        found = dict(_lower(attribute(holder, "headers"))) | found
    return found


def _lower(headers: Any) -> Mapping[str, str]:
    """Return the headers that name a pause, with lower-case names, whatever holds the headers."""
    return {name: text for name, text in _pairs(headers) if name in _PAUSES}


def _pairs(headers: Any) -> Iterator[tuple[str, str]]:
    try:
        for name, text in headers.items():
            yield str(name).lower(), str(text)
    except Exception:  # not a mapping: there are no headers
        return
