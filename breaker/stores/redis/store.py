"""The circuit store in Redis (6.2 or newer) or Valkey, with one script per operation."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self

from breaker.alerts.base import AlertBatch, OutboxStatus
from breaker.chain import STEP_EVENTS, ChainStatus, Step, run_name
from breaker.clock import NowUs
from breaker.names import split_name
from breaker.notes import Report
from breaker.registration import Seen
from breaker.settings import BreakerSettings, check_circuit_name
from breaker.state import Change, Circuit, HistoryEntry, Permit, Rules
from breaker.stores import replies
from breaker.stores.base import CALLBACK_LIMIT, Admission, Callback, Registration
from breaker.stores.redis.client import Client, connect, log_in
from breaker.stores.redis.instances import find_names, instance_keys
from breaker.stores.redis.refusals import refusal_of
from breaker.stores.redis.runner import FAILURES, Argument, ScriptRunner
from breaker.stores.redis.subscription import messages

CALLBACK_LIFETIME_MS = 90 * 86_400_000
_KEYS = (
    "circuit",
    "window",
    "samples",
    "successes",
    "probes",
    "probed",
    "outbox",
    "history",
)


def prefix_of(app: str) -> str:
    """Return the prefix of all keys of an app's circuits; its hash tag puts them into one slot."""
    return f"breaker:{{{app}}}"


def channel_of(app: str) -> str:
    """Return the channel to which all circuits of an app's dependencies push their states."""
    return f"{prefix_of(app)}/changes"


class RedisCircuitStore:
    """A shared store of one circuit, each operation one script and one round trip.

    The keys are `breaker:{<name>}:*` or, for a dependency's circuit `<app>/<dependency>`,
    `breaker:{<app>}/<dependency>:*`. All keys of an app's circuits share one hash tag.

    Args:
        client: an address, for which the store opens and closes a client; or the caller's client,
            which the caller closes.
        name: name of the circuit; for a dependency's circuit `<app>/<dependency>`.
        timeout_seconds: a slower answer raises `StoreUnavailableError`.
        now_us: clock for tests; None uses the server's time.
    """

    def __init__(
        self,
        client: Client | str,
        name: str = "breakwater",
        *,
        timeout_seconds: float = 2.0,
        now_us: NowUs | None = None,
    ) -> None:
        self._name = check_circuit_name(name)
        self._owned = isinstance(client, str)
        self._client: Client = connect(client) if isinstance(client, str) else client
        self._timeout = timeout_seconds
        self._now_us = now_us
        app, self._dependency = split_name(name)
        prefix = (
            f"{prefix_of(app)}/{self._dependency}:" if self._dependency else f"{prefix_of(app)}:"
        )
        self._channel = channel_of(app) if self._dependency else f"{prefix}changes"
        keys = [*((prefix + key).encode() for key in _KEYS), self._channel.encode()]
        self._keys = tuple(keys)
        self._claim_keys = (*keys, f"{prefix}outbox_claim".encode())
        reports, probe_keys = f"{prefix}reports".encode(), f"{prefix}probe_keys".encode()
        self._poll_keys = (*keys, f"{prefix}pace".encode(), f"{prefix}running".encode())
        self._report_keys = (*self._poll_keys, reports)
        self._instance_keys = instance_keys(f"{prefix_of(app)}/" if self._dependency else prefix)
        self._failure_keys = (*self._poll_keys, probe_keys)
        self._success_keys = (*keys, reports, probe_keys)
        self._acquire_keys = (*keys, probe_keys)
        self._approval_keys = (*keys, f"{prefix}approvals".encode())
        self._chain_keys = (*self._approval_keys, f"{prefix}chain".encode())
        self._history_key = prefix + "history"
        self._runner = ScriptRunner(self._client, name, timeout_seconds)

    @classmethod
    def from_settings(cls, url: str, settings: BreakerSettings) -> Self:
        """Return a store with its own client, with the settings' name and timeout."""
        store = cls(
            connect(url, settings), settings.name, timeout_seconds=settings.store_timeout_seconds
        )
        store._owned = True
        return store

    @property
    def name(self) -> str:
        """The circuit's name."""
        return self._name

    async def snapshot(self, rules: Rules) -> Change:
        """See `CircuitStore.snapshot`."""
        keys = (*self._poll_keys, *self._instance_keys)
        return await self._polled(
            rules, await self._run("snapshot", rules, keys, rules.registration)
        )

    async def report(self, rules: Rules, report: Report) -> Change:
        """See `CircuitStore.report`."""
        keys = (*self._report_keys, *self._instance_keys)
        arguments = (*report_arguments(report), rules.registration)
        reply = await self._run("report", rules, keys, *arguments)
        return await self._polled(rules, reply)

    async def record_failure(
        self, rules: Rules, failure_id: str, error: str, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_failure`."""
        outcome = (failure_id, error, permit.generation, permit.probe_id or "", permit.key)
        reply = await self._run("record_failure", rules, self._failure_keys, *outcome)
        return replies.change(self._name, rules, reply)

    async def record_successes(
        self, rules: Rules, report_id: str, count: int, permit: Permit
    ) -> Change:
        """See `CircuitStore.record_successes`."""
        outcome = (count, permit.generation, permit.probe_id or "", report_id, permit.key)
        reply = await self._run("record_successes", rules, self._success_keys, *outcome)
        return replies.change(self._name, rules, reply)

    async def acquire(self, rules: Rules, probe_id: str, key: str = "") -> Admission:
        """See `CircuitStore.acquire`."""
        reply, wait = await self._run("acquire", rules, self._acquire_keys, probe_id, key)
        change = replies.change(self._name, rules, reply)
        wait_us = replies.text(wait)
        return Admission(
            Change(change.circuit, change.transitions),
            granted=change.outcome == "granted",
            wait=int(wait_us) / 1_000_000 if wait_us else None,
        )

    async def release(self, rules: Rules, permit: Permit) -> Change:
        """See `CircuitStore.release`."""
        return await self._change("release", rules, permit.generation, permit.probe_id or "")

    async def approve(self, rules: Rules, generation: int, by: str) -> Change:
        """See `CircuitStore.approve`."""
        return await self._change("approve", rules, generation, by)

    async def close(self, rules: Rules, generation: int, by: str, reason: str) -> Change:
        """See `CircuitStore.close`."""
        return await self._change("close", rules, generation, by, reason)

    async def isolate(self, rules: Rules, by: str, reason: str, seconds: float = 0.0) -> Change:
        """See `CircuitStore.isolate`."""
        return await self._change("isolate", rules, by, reason, round(seconds * 1_000_000))

    async def restore(self, rules: Rules, known: Circuit) -> Change:
        """See `CircuitStore.restore`."""
        times = (known.opened_at, known.changed_at, known.resume_at)
        return await self._change(
            "restore",
            rules,
            str(known.state),
            known.generation,
            *(round((at or 0) * 1_000_000) for at in times),
            known.reason,
            known.by,
            str(known.ends_as or "-"),
            int(known.stops_app),
        )

    async def history(self, limit: int) -> list[HistoryEntry]:
        """See `CircuitStore.history`."""
        entries = await self._runner.ask(self._client.xrevrange(self._history_key, count=limit))
        return replies.history(self._name, entries)

    async def registered(self, rules: Rules) -> tuple[float, list[Seen]]:
        """See `CircuitStore.registered`."""
        now, rows = await self._run("registered", rules, self._instance_keys)
        return int(now) / 1_000_000, replies.seen(rows)

    async def names(self) -> frozenset[str]:
        """See `CircuitStore.names`; Redis is searched for the keys of circuits."""
        await log_in(self._client)
        found: frozenset[str] = await self._runner.ask(find_names(self._client))
        return found

    async def changes(self, rules: Rules) -> AsyncGenerator[Circuit | None]:
        """See `CircuitStore.changes`.

        A connection that answers neither pushes nor pings raises `StoreUnavailableError`.
        """
        received = messages(
            self._client,
            self._channel,
            self._runner,
            circuit=self._name,
            timeout_seconds=self._timeout,
        )
        async with aclosing(received):
            async for message in received:
                if message is None:
                    yield None
                elif not self._dependency:
                    yield replies.change(self._name, rules, message).circuit
                elif (push := replies.push(message))[0] == self._dependency and push[1]:
                    yield replies.change(self._name, rules, push[1]).circuit

    async def claim_alerts(
        self, rules: Rules, token: str, lease_seconds: float, limit: int
    ) -> AlertBatch:
        """See `CircuitStore.claim_alerts`."""
        lease = round(lease_seconds * 1_000_000)
        wait, entries = await self._run(
            "claim_alerts", rules, self._claim_keys, token, lease, limit
        )
        if replies.text(wait):
            return AlertBatch(wait=int(wait) / 1_000_000)
        return AlertBatch(replies.alerts(self._name, entries))

    async def settle_alert(
        self, rules: Rules, token: str, entry: str, lease_seconds: float
    ) -> None:
        """See `CircuitStore.settle_alert`."""
        lease = round(lease_seconds * 1_000_000)
        await self._run("settle_alert", rules, self._claim_keys, token, lease, entry)

    async def release_alerts(self, rules: Rules, token: str) -> None:
        """See `CircuitStore.release_alerts`."""
        await self._run("release_alerts", rules, self._claim_keys, token)

    async def outbox(self, rules: Rules) -> OutboxStatus:
        """See `CircuitStore.outbox`."""
        pending, age = await self._run("outbox", rules, self._keys)
        return OutboxStatus(int(pending), int(age) / 1_000_000 if replies.text(age) else None)

    async def register_callback(self, rules: Rules, registration: Registration) -> bool:
        """See `CircuitStore.register_callback`."""
        arguments = (
            registration.generation,
            registration.url,
            CALLBACK_LIMIT,
            CALLBACK_LIFETIME_MS,
            str(registration.waits_for),
            registration.run,
            run_name(registration.run),
        )
        return bool(await self._run("register_callback", rules, self._approval_keys, *arguments))

    async def claim_callbacks(self, rules: Rules, lease_seconds: float) -> list[Callback]:
        """See `CircuitStore.claim_callbacks`."""
        lease = round(lease_seconds * 1_000_000)
        due = await self._run("claim_callbacks", rules, self._approval_keys, lease)
        return sorted(
            (Callback(int(row[0]), replies.text(row[1]), int(row[2])) for row in due),
            key=lambda callback: (callback.generation, callback.url),
        )

    async def settle_callback(self, rules: Rules, callback: Callback) -> None:
        """See `CircuitStore.settle_callback`."""
        arguments = (callback.generation, callback.url)
        await self._run("settle_callback", rules, self._approval_keys, *arguments)

    async def postpone_callback(
        self, rules: Rules, callback: Callback, delay_seconds: float
    ) -> None:
        """See `CircuitStore.postpone_callback`."""
        delay = round(delay_seconds * 1_000_000)
        arguments = (callback.generation, callback.url, delay, callback.attempts + 1)
        await self._run("postpone_callback", rules, self._approval_keys, *arguments)

    async def release_starts(self, rules: Rules) -> int:
        """See `CircuitStore.release_starts`."""
        return int(await self._run("release_starts", rules, self._approval_keys))

    async def forget_run(self, rules: Rules, run: str) -> None:
        """See `CircuitStore.forget_run`."""
        await self._run("forget_run", rules, self._approval_keys, run)

    async def note_step(self, rules: Rules, step: Step) -> bool:
        """See `CircuitStore.note_step`."""
        arguments = (
            str(step.kind),
            round(step.at * 1_000_000),
            replies.step_text(step),
            STEP_EVENTS[step.kind, step.accepted],
            step.generation,
            step.by,
            step.detail,
            CALLBACK_LIFETIME_MS,
        )
        return bool(await self._run("note_step", rules, self._chain_keys, *arguments))

    async def chain(self, rules: Rules) -> ChainStatus:
        """See `CircuitStore.chain`."""
        return replies.chain(await self._run("chain", rules, self._chain_keys))

    async def repeat_opened(self, rules: Rules, after_seconds: float, most_seconds: float) -> bool:
        """See `CircuitStore.repeat_opened`."""
        pauses = (round(seconds * 1_000_000) for seconds in (after_seconds, most_seconds))
        arguments = (*pauses, CALLBACK_LIFETIME_MS)
        return bool(await self._run("repeat_opened", rules, self._chain_keys, *arguments))

    async def aclose(self) -> None:
        """Return the client's connections, and close the client if the store opened it.

        Errors of the server are ignored, because its connections are closed in any case.
        """
        await self._runner.aclose()
        if self._owned:
            with contextlib.suppress(*FAILURES):
                await self._client.aclose()

    async def _polled(self, rules: Rules, reply: bytes | str) -> Change:
        """Return a poll's result; the script has caught the error of a refused write."""
        change = replies.change(self._name, rules, reply)
        if not change.refused:
            return change
        refusal = refusal_of(change.refused)
        if refusal.is_of_the_node:
            await self._runner.drop_connections()
        return replace(change, refused=str(refusal), is_full=refusal.is_full)

    async def _change(self, script: str, rules: Rules, *arguments: Argument) -> Change:
        now = None if self._now_us is None else self._now_us()
        reply = await self._runner.run(script, self._keys, now, rules, *arguments)
        return replies.change(self._name, rules, reply)

    async def _run(
        self, script: str, rules: Rules, keys: tuple[bytes, ...], *arguments: Argument
    ) -> Any:
        now = None if self._now_us is None else self._now_us()
        return await self._runner.run(script, keys, now, rules, *arguments)


def report_arguments(report: Report) -> tuple[Argument, ...]:
    """Return the arguments of report.lua from ARGV[4] on."""
    success_age, longest, attempts_age = report.ages_us
    return (
        report.report_id,
        f"{success_age} {longest}" if report.succeeded else "",
        f"{report.failed_attempts} {attempts_age}",
        report.generation,
        " ".join(report.keys),
        report.error,
        " ".join(report.running),
    )
