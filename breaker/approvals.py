"""Approval callbacks: registration, and the HTTP calls once a generation is approved.

Registrations are kept in the store, and a callback is due once its generation has left OPEN. Any
process can make the call, so a callback survives the crash of the process that approved.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from breaker.chain import ChainStatus, Step, WaitsFor
from breaker.clock import Clock
from breaker.configuration.one_line import escaped
from breaker.errors import CallbackRefusedError, StoreUnavailableError
from breaker.state import Circuit, CircuitState, Rules, clip
from breaker.stores.base import CALLBACK_LIMIT, Callback, CircuitStore, Registration

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

URL_LIMIT = 4_096
CALL_SECONDS = 10.0
CLAIM_SECONDS = 30.0
RETRY_SECONDS_MAX = 60.0
POLL_SECONDS = 2.0
ATTEMPTS = 100
GONE_SECONDS_MAX = 600.0
"""Longest pause between two calls that find no receiver.

A callback may be called before its receiver has seen the answer to the registration, and it is not
documented that the receiver is known then. A run that still waits registers again.
"""
UNKNOWN_OPENING = (
    "opened by an instance that could not reach the store; "
    "the first alert of this generation has the reason"
)
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class Caller(Protocol):
    """A client that posts approval callbacks."""

    async def post(self, url: str, body: dict[str, object]) -> int:
        """Post `body` as JSON and return the HTTP status; redirects are not followed.

        Raises:
            OSError: the connection failed.
            TimeoutError: the answer did not arrive in time.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections that the caller opened."""
        ...


class HttpCaller:
    """A `Caller` over HTTP; opens its session on first use."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: dict[str, object]) -> int:
        """See `Caller.post`."""
        # Imported here, because a breaker without callbacks needs no HTTP client.
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.post(url, json=body, allow_redirects=False) as response:
                return response.status
        except aiohttp.ClientConnectionError as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        except aiohttp.ClientError as error:
            # The error's text may contain the address, and the address contains a secret.
            raise OSError(type(error).__name__) from None

    async def aclose(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def check_callback(generation: int, url: str) -> None:
    """Check the generation and the address of a callback.

    Raises:
        CallbackRefusedError: the generation is below 1, or the address is not http(s), too long or
            malformed.
    """
    if generation < 1:
        raise CallbackRefusedError(
            f"generation is {generation}: it takes a whole number of at least 1"
        )
    if len(url) > URL_LIMIT:
        raise CallbackRefusedError(
            f"the callback address has {len(url)} characters: it takes {URL_LIMIT} at most"
        )
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        # The address is not shown: its query is a secret.
        raise CallbackRefusedError("the callback address is not a valid http(s) address")


def has_passed(circuit: Circuit, generation: int) -> bool:
    """Return whether a generation needs no approval: it is over, half-open or closed."""
    if circuit.generation != generation:
        return generation < circuit.generation
    return circuit.state in {CircuitState.HALF_OPEN, CircuitState.CLOSED}


class Approvals:
    """The approval callbacks of one circuit.

    A call succeeds with status 2xx. After any other status or an error, this process or another
    one retries with growing pauses, which are longer after status 404 or 410, up to `ATTEMPTS`
    times. A workflow run registers again from time to time, so a lost callback is replaced, and
    the callback of a run that does not is forgotten. After a crash a receiver may be called twice,
    so it must be idempotent.
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
        self,
        generation: int,
        callback_url: str,
        opened_at: float | None = None,
        *,
        run: str = "",
        waits_for: WaitsFor = WaitsFor.APPROVAL,
    ) -> bool:
        """Register a callback; return True if it is due, because nothing is left to decide.

        The call itself is made by `call_due`, after the caller has answered the registration.

        During a store outage an instance may open the circuit alone, and be stopped before the
        store has this opening. The workflow still has the opening's alert. So with `opened_at`, a
        generation that is newer than the store's is put into the store, open. Repeating a
        registration is harmless.

        Args:
            generation: the generation whose approval the caller waits for.
            callback_url: the address to call.
            opened_at: time of the opening from its alert, seconds since the epoch; None if the
                caller has no alert of this opening.
            run: name of the workflow run; a registration replaces the run's earlier callbacks.
            waits_for: START if the generation was approved and the run could not start the app. The
                callback is then due after `release_starts`, or once a newer generation is open.

        Raises:
            CallbackRefusedError: the address or the generation is not valid, or `CALLBACK_LIMIT`
                callbacks are registered.
            StoreUnavailableError: the store does not answer; register again.
        """
        check_callback(generation, callback_url)
        registration = Registration(generation, callback_url, clip(run), waits_for)
        if not await self._store.register_callback(self._rules, registration):
            raise CallbackRefusedError(
                f"{CALLBACK_LIMIT} callbacks are registered, which is the limit"
            )
        circuit = (await self._store.snapshot(self._rules)).circuit
        if circuit.degraded:  # a degraded snapshot must not start the app
            raise StoreUnavailableError(
                circuit.problem or f"the store of circuit {circuit.name!r} does not answer"
            )
        if waits_for is WaitsFor.START:
            return generation < circuit.generation and circuit.state is CircuitState.OPEN
        if circuit.generation < generation and opened_at is not None:
            circuit = await self._restore_opening(generation, opened_at, circuit)
        return has_passed(circuit, generation)

    async def report(self, step: Step) -> None:
        """Put a call to stop or start the app on record, in the chain's status and the history.

        The same step is recorded once, and an older step does not replace a later one.

        Raises:
            StoreUnavailableError: the store does not answer; report again.
        """
        step = replace(step, detail=clip(escaped(step.detail)), by=clip(escaped(step.by)))
        if await self._store.note_step(self._rules, step):
            logger.info(
                "%s of the app was %s (%s), by %s",
                step.kind,
                "accepted" if step.accepted else "refused",
                step.detail or "no detail",
                step.by,
            )

    async def forget(self, run: str) -> None:
        """Remove the callbacks of a workflow run that has ended.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        await self._store.forget_run(self._rules, clip(run))

    async def status(self) -> ChainStatus:
        """Return what is on record: the runs that wait, the latest stop and start, the repeats.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        return await self._store.chain(self._rules)

    async def release_starts(self) -> int:
        """Call the callbacks that wait for a start, because an operator has started the app.

        Returns:
            The number of runs that waited for a start.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        released = await self._store.release_starts(self._rules)
        await self.call_due()
        return released

    async def call_due(self) -> int:
        """Call the due callbacks and return the number of successes.

        Failed calls are retried in the background.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        called, failed = await self._call_due()
        if failed and (self._retry is None or self._retry.done()):
            self._retry = asyncio.create_task(self._retry_calls(), name="breaker-callbacks")
        return called

    async def aclose(self) -> None:
        """Stop the retries; callbacks that are still due stay registered."""
        if self._retry is not None:
            self._retry.cancel()
            await asyncio.gather(self._retry, return_exceptions=True)
        await self._caller.aclose()

    async def _restore_opening(self, generation: int, opened_at: float, found: Circuit) -> Circuit:
        """Put an opening that the store lacks into the store and return the new circuit."""
        logger.warning(
            "the store of circuit %s is at generation %d and lacks the opening of generation %d; "
            "adding this opening to the store",
            found.name,
            found.generation,
            generation,
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
            reason=UNKNOWN_OPENING,
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
        """Make one call and return whether the callback needs no further attempt."""
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
        if problem and callback.attempts + 1 < ATTEMPTS:
            longest = GONE_SECONDS_MAX if status in _GONE else RETRY_SECONDS_MAX
            delay = min(2.0**callback.attempts, longest)
            logger.warning(
                "the callback of circuit %s, generation %d, to %s failed (%s); "
                "next attempt in %g s",
                circuit.name,
                callback.generation,
                host,
                problem,
                delay,
            )
            await self._store.postpone_callback(self._rules, callback, delay)
            return False
        if problem:
            logger.warning(
                "the callback of circuit %s, generation %d, to %s failed %d times (%s); "
                "removed the callback; a workflow run that still waits registers again",
                circuit.name,
                callback.generation,
                host,
                ATTEMPTS,
                problem,
            )
        await self._store.settle_callback(self._rules, callback)
        return True

    async def _retry_calls(self) -> None:
        """Poll for due callbacks until none was due for longer than the longest postponement."""
        idle = 0.0
        while idle <= RETRY_SECONDS_MAX + CLAIM_SECONDS:
            await self._clock.sleep(POLL_SECONDS)
            try:
                called, failed = await self._call_due()
            except StoreUnavailableError as error:
                logger.debug("due callbacks could not be read: %s", error)
                idle = 0.0
            else:
                idle = 0.0 if called or failed else idle + POLL_SECONDS
