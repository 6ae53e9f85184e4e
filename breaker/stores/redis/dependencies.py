"""The stores of an app's dependencies in Redis; one script polls all circuits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from breaker.clock import NowUs
from breaker.errors import StoreUnavailableError, WritesRefusedError
from breaker.names import circuit_name
from breaker.notes import Report
from breaker.registration import Poller
from breaker.settings import check_name
from breaker.state import Change, Circuit, Rules
from breaker.stores import replies
from breaker.stores.dependencies import KEPT_SECONDS, UNUSED_SECONDS, FindRules
from breaker.stores.redis.client import Client
from breaker.stores.redis.instances import instance_keys
from breaker.stores.redis.refusals import refusal_of
from breaker.stores.redis.runner import Argument, ScriptRunner, rule_arguments
from breaker.stores.redis.store import (
    RedisCircuitStore,
    channel_of,
    prefix_of,
    report_arguments,
)
from breaker.stores.redis.subscription import messages

_NO_REPORT: tuple[Argument, ...] = (0, *("",) * 7)


@dataclass(frozen=True, slots=True, eq=False)
class _Poll:
    """A circuit to poll."""

    dependency: str
    keys: tuple[bytes, ...]
    rules: Rules
    report: tuple[Argument, ...]
    reply: asyncio.Future[Any] = field(default_factory=asyncio.Future)


@dataclass(frozen=True, slots=True, eq=False)
class _Registration:
    """Names to register."""

    used: Collection[str]
    most: int
    poller: Poller | None
    reply: asyncio.Future[Any] = field(default_factory=asyncio.Future)


class RedisDependencyStore:
    """A `DependencyStore` in Redis; its keys have the same hash tag as the app's own circuit.

    The registry has the key `breaker:{<app>}/names`.

    Args:
        client: the caller's client, which the caller closes.
        app: the name of the app's own circuit.
        timeout_seconds: a slower answer raises `StoreUnavailableError`.
        now_us: clock for tests; None uses the server's time.
    """

    def __init__(
        self,
        client: Client,
        app: str = "breakwater",
        *,
        timeout_seconds: float = 2.0,
        now_us: NowUs | None = None,
    ) -> None:
        self._client = client
        self._app = check_name(app)
        self._timeout = timeout_seconds
        self._now_us = now_us
        self._channel = channel_of(app)
        self._keys = (
            f"{prefix_of(app)}/names".encode(),
            self._channel.encode(),
            *instance_keys(f"{prefix_of(app)}/"),
        )
        self._runner = ScriptRunner(client, app, timeout_seconds)
        self._waiting: list[_Poll | _Registration] = []
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def app(self) -> str:
        """The name of the app's own circuit."""
        return self._app

    def circuit(self, dependency: str) -> RedisCircuitStore:
        """See `DependencyStore.circuit`."""
        return _PolledStore(self, self._client, dependency, self._timeout, self._now_us)

    async def register(
        self, used: Collection[str], most: int, poller: Poller | None = None
    ) -> frozenset[str]:
        """See `DependencyStore.register`."""
        registration = _Registration(used, most, poller)
        names: Sequence[bytes | str] = await self._join(registration)
        return frozenset(map(replies.text, names))

    async def changes(self, rules: FindRules) -> AsyncGenerator[tuple[str, Circuit | None] | None]:
        """See `DependencyStore.changes`."""
        received = messages(
            self._client,
            self._channel,
            self._runner,
            circuit=f"{self._app}/*",
            timeout_seconds=self._timeout,
        )
        async with aclosing(received):
            async for message in received:
                if message is None:
                    yield None
                    continue
                dependency, reply = replies.push(message)
                known = rules(dependency) if reply else None
                if known is None:
                    yield dependency, None
                else:
                    name = circuit_name(self._app, dependency)
                    yield dependency, replies.change(name, known, reply).circuit

    async def poll(self, poll: _Poll) -> bytes | str:
        """Return a script's reply for one circuit; polls that wait share one request."""
        reply: bytes | str = await self._join(poll)
        return reply

    async def aclose(self) -> None:
        """Stop the requests that are sent now, and return the connections to the client's pool."""
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._runner.aclose()

    async def _join(self, request: _Poll | _Registration) -> Any:
        """Add a request to the next script, and return its part of the reply.

        The script is sent after all tasks that are ready to run have added their requests.
        """
        if not self._waiting:
            task = asyncio.create_task(self._send(), name="breaker-dependencies")
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._waiting.append(request)
        return await request.reply

    async def _send(self) -> None:
        requests, self._waiting = self._waiting, []
        try:
            names, answers, refused = await self._run(requests)
        except StoreUnavailableError as error:
            for request in requests:
                if not request.reply.done():
                    request.reply.set_exception(error)
            return
        except BaseException:
            for request in requests:
                request.reply.cancel()
            raise
        remaining = iter(answers)
        for request in requests:
            answer = next(remaining) if isinstance(request, _Poll) else names
            if request.reply.done():
                continue
            if refused and isinstance(request, _Registration) and request.used:
                why = str(refusal_of(replies.text(refused)))
                request.reply.set_exception(WritesRefusedError(why))
            else:
                request.reply.set_result(answer)

    async def _run(self, requests: list[_Poll | _Registration]) -> Any:
        polls = [each for each in requests if isinstance(each, _Poll)]
        registrations = [each for each in requests if isinstance(each, _Registration)]
        keys = self._keys + tuple(key for poll in polls for key in poll.keys)
        poller = next((each.poller for each in registrations if each.poller), Poller("", ""))
        arguments: list[Argument] = [
            "" if self._now_us is None else self._now_us(),
            rule_arguments(polls[0].rules)[1] if polls else "",
            min((each.most for each in registrations), default=0),
            " ".join(sorted({name for each in registrations for name in each.used})),
            round(UNUSED_SECONDS * 1_000_000),
            round(KEPT_SECONDS * 1_000),
            *poller,
        ]
        for poll in polls:
            arguments += [poll.dependency, rule_arguments(poll.rules)[0], *poll.report]
        return await self._runner.run_varied("poll", keys, tuple(arguments))


class _PolledStore(RedisCircuitStore):
    """The store of one dependency's circuit, whose polls share requests with the others'."""

    def __init__(
        self,
        together: RedisDependencyStore,
        client: Client,
        dependency: str,
        timeout_seconds: float,
        now_us: NowUs | None,
    ) -> None:
        name = circuit_name(together.app, dependency)
        super().__init__(client, name, timeout_seconds=timeout_seconds, now_us=now_us)
        self._together = together

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`."""
        return await self._poll(rules, _NO_REPORT)

    async def report(self, rules: Rules, report: Report) -> Change:
        """See `CircuitStore.report`."""
        return await self._poll(rules, (1, *report_arguments(report)))

    async def _poll(self, rules: Rules, report: tuple[Argument, ...]) -> Change:
        poll = _Poll(self._dependency, self._report_keys, rules, report)
        return await self._polled(rules, await self._together.poll(poll))
