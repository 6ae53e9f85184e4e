"""The HTTP requests of actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from local.workflow.expressions.values import Json, text
from local.workflow.runs.content import decode, encode


class NoAnswerError(Exception):
    """A request without an answer: no connection, a broken connection, or a timeout."""


@dataclass(frozen=True)
class Request:
    """A request of an action."""

    method: str
    uri: str
    headers: dict[str, str] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    body: Json = None

    @classmethod
    def of(cls, inputs: dict[str, Any]) -> Request:
        """Build a request from the evaluated inputs of an action.

        `authentication` is ignored. On Azure the managed identity adds a token of Entra, which the
        local management endpoint neither issues nor checks. All local calls stay on loopback.
        """
        return cls(
            method=str(inputs["method"]).upper(),
            uri=str(inputs["uri"]),
            headers={name: text(value) for name, value in (inputs.get("headers") or {}).items()},
            queries={name: text(value) for name, value in (inputs.get("queries") or {}).items()},
            body=inputs.get("body"),
        )


@dataclass(frozen=True)
class Answer:
    """An answer, as `outputs` of the action."""

    status: int
    headers: dict[str, str]
    body: Json

    @property
    def is_success(self) -> bool:
        """Return whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def outputs(self) -> dict[str, Json]:
        """The outputs of an action with this answer."""
        return {"statusCode": self.status, "headers": self.headers, "body": self.body}


class Sender(Protocol):
    """A client that sends one request."""

    async def send(self, request: Request) -> Answer:
        """Return the answer of any status.

        Raises:
            NoAnswerError: there is no answer.
        """


class HttpSender:
    """A client over the network.

    Args:
        client: the HTTP client with its timeout. On Azure a request times out after two minutes
            (Consumption limits, "Outbound request"); a local request is not slower with a scale of
            the durations, so that the timeout has no scale.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, request: Request) -> Answer:
        """Return the answer of any status.

        Raises:
            NoAnswerError: there is no answer.
        """
        content, headers = encode(request.body, request.headers)
        try:
            answer = await self._client.request(
                request.method,
                request.uri,
                headers=headers,
                params=request.queries or None,
                content=content,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from error
        try:
            body = decode(answer.content, answer.headers.get("content-type", ""))
        except ValueError:
            body = answer.text
        return Answer(answer.status_code, dict(answer.headers), body)
