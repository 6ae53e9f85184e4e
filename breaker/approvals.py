"""Who must be called back when a generation is approved, and the calling.

Registrations live in the store, and a callback is due as soon as its generation has gone past
OPEN, so any process can call it: the one that approved, or another after that one died.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from breaker.clock import Clock
from breaker.errors import CallbackRefusedError, StoreUnavailableError
from breaker.state import Circuit, CircuitState, Rules
from breaker.stores.base import CALLBACK_LIMIT, Callback, CircuitStore

logger = logging.getLogger(__name__)

URL_LIMIT = 4_096
CALL_SECONDS = 10.0
CLAIM_SECONDS = 30.0
RETRY_SECONDS_MAX = 60.0
LOOK_SECONDS = 2.0
ATTEMPTS = 100
NOT_KNOWN = "opened by an instance that could not tell the store; its first alert says why"
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Caller(Protocol):
    """Posts JSON to an address and returns the status; raises OSError or TimeoutError."""

    async def post(self, url: str, body: dict[str, object]) -> int:
        """Call `url`; redirects are not followed."""
        ...

    async def aclose(self) -> None:
        """Close what was opened."""
        ...


class HttpCaller:
    """The real caller; opens its session on first use."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: dict[str, object]) -> int:
        """See `Caller.post`."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.post(url, json=body, allow_redirects=False) as response:
                return response.status
        except aiohttp.ClientConnectionError as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        except aiohttp.ClientError as error:
            # Its text may hold the address, and the address a secret.
            raise OSError(type(error).__name__) from None

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def check_callback(generation: int, url: str) -> None:
    """Refuse what cannot be a callback.

    Raises:
        CallbackRefusedError: with what it takes.
    """
    if generation < 1:
        raise CallbackRefusedError(f"generation is {generation}: it takes a number from 1")
    if len(url) > URL_LIMIT:
        raise CallbackRefusedError(f"the callback address has more than {URL_LIMIT} characters")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise CallbackRefusedError("the callback address is not an http(s) address")


def has_passed(circuit: Circuit, generation: int) -> bool:
    """Whether that generation needs no approval any more."""
    if circuit.generation != generation:
        return generation < circuit.generation
    return circuit.state in {CircuitState.HALF_OPEN, CircuitState.CLOSED}


class Approvals:
    """Registers callbacks and calls those that are due; each until it took it once.

    A callback answers 2xx to take it; 404 and 410 mean that nobody waits there any more; anything
    else is tried again, by this process or another, with growing pauses. The receiver may see a
    call twice (after a crash) and must not mind.
    """

    def __init__(
        self, store: CircuitStore, rules: Rules, *, caller: Caller | None = None, clock: Clock
    ) -> None:
        self._store = store
        self._rules = rules
        self._caller = caller or HttpCaller()
        self._clock = clock
        self._retry: asyncio.Task[None] | None = None

    async def register(
        self, generation: int, callback_url: str, opened_at: float | None = None
    ) -> bool:
        """Remember a callback; True if the generation has passed already, and it was called now.

        An instance may have opened alone, without the store, and be stopped before anybody else
        knew. Whoever asks for approval of that opening makes it everybody's: with `opened_at`, a
        generation that the store has not come to is put into it, open. Repeating a registration is
        harmless.

        Args:
            generation: the one that the caller waits for.
            callback_url: is called once that one needs no approval any more.
            opened_at: when it opened, as its alert says, seconds since the epoch; None: the caller
                knows of no opening.

        Raises:
            CallbackRefusedError: not an address, no generation, or too many waiting.
            StoreUnavailableError: it was not remembered, or nobody knows whether it has passed.
        """
        check_callback(generation, callback_url)
        if not await self._store.register_callback(self._rules, generation, callback_url):
            raise CallbackRefusedError(f"{CALLBACK_LIMIT} callbacks wait already")
        circuit = (await self._store.snapshot(self._rules)).circuit
        if circuit.degraded:  # what this process knows by itself decides nothing
            raise StoreUnavailableError(f"the store of circuit {circuit.name!r} does not answer")
        if circuit.generation < generation and opened_at is not None:
            circuit = await self._put_in(generation, opened_at, circuit)
        if not has_passed(circuit, generation):
            return False
        await self.call_due()
        return True

    async def call_due(self) -> int:
        """Call what is due; how many took it. What failed is tried again in the background."""
        called, failed = await self._call_due()
        if failed and (self._retry is None or self._retry.done()):
            self._retry = asyncio.create_task(self._until_called(), name="breaker-callbacks")
        return called

    async def aclose(self) -> None:
        """Stop trying; what is still due stays registered."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)
        await self._caller.aclose()

    async def _put_in(self, generation: int, opened_at: float, found: Circuit) -> Circuit:
        """Put an opening into the store that has not heard of it; the circuit after that."""
        logger.warning(
            "generation %d of circuit %s is not known to its store, which is in %d: putting it in",
            generation,
            found.name,
            found.generation,
        )
        at = min(opened_at, found.as_of or opened_at)
        recovery_us = self._rules.break_us
        opening = replace(
            found,
            state=CircuitState.OPEN,
            generation=generation,
            opened_at=at,
            changed_at=at,
            resume_at=at + recovery_us / 1_000_000 if recovery_us else None,
            reason=NOT_KNOWN,
            by="",
        )
        return (await self._store.restore(self._rules, opening)).circuit

    async def _call_due(self) -> tuple[int, int]:
        due = await self._store.claim_callbacks(self._rules, CLAIM_SECONDS)
        if not due:
            return 0, 0
        circuit = (await self._store.snapshot(self._rules)).circuit
        taken = await asyncio.gather(*(self._call(circuit, callback) for callback in due))
        return sum(taken), len(due) - sum(taken)

    async def _call(self, circuit: Circuit, callback: Callback) -> bool:
        """Whether this callback needs no further attempt."""
        host = urlsplit(callback.url).hostname
        body: dict[str, object] = {
            "circuit": circuit.name,
            "generation": callback.generation,
            "state": str(circuit.state),
            "by": circuit.by,
        }
        try:
            status = await self._caller.post(callback.url, body)
            problem = "" if HTTPStatus(status).is_success else f"status {status}"
        except (OSError, TimeoutError, ValueError) as error:
            status, problem = 0, f"{type(error).__name__}: {error}"
        if status in _GONE:
            logger.warning("nobody waits at %s for generation %d", host, callback.generation)
        elif problem and callback.attempts + 1 < ATTEMPTS:
            delay = min(2.0**callback.attempts, RETRY_SECONDS_MAX)
            logger.warning("callback to %s failed (%s); again in %g s", host, problem, delay)
            await self._store.postpone_callback(self._rules, callback, delay)
            return False
        elif problem:
            logger.error("callback to %s given up after %d attempts", host, ATTEMPTS)
        await self._store.settle_callback(self._rules, callback)
        return True

    async def _until_called(self) -> None:
        """Look while anything may still be put off; the store decides what is due when."""
        idle = 0.0
        while idle <= RETRY_SECONDS_MAX + CLAIM_SECONDS:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                called, failed = await self._call_due()
            except StoreUnavailableError as error:
                logger.debug("callbacks cannot be read: %s", error)
                idle = 0.0
            else:
                idle = 0.0 if called or failed else idle + LOOK_SECONDS
