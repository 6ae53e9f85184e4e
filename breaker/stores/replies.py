"""Parsers of the scripts' replies; `scripts/common.lua` describes the format."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import batched
from typing import Any

from breaker.alerts.base import Alert, alert_of
from breaker.chain import ChainStatus, Step, StepKind, Waiting, WaitsFor, waiting_order
from breaker.kinds import kind_of
from breaker.registration import Seen
from breaker.state import (
    Change,
    Circuit,
    CircuitEvent,
    CircuitState,
    HistoryEntry,
    Rules,
)

logger = logging.getLogger(__name__)

_STATES = {str(state).encode(): state for state in CircuitState}
_WOULD_OPEN = b"would_open "
_REFUSED = b"no_writes "
_KEEPS_APP = [b"0"]
_OUTCOMES = {b"done": "done", b"ignored": "ignored"}


def text(value: bytes | str | int) -> str:
    """Return a reply as text; a client may return bytes or decoded text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def change(name: str, rules: Rules, reply: bytes | str) -> Change:
    """Return the change in a script's reply; `refused` is Redis's own error."""
    raw = reply if isinstance(reply, bytes) else reply.encode()
    refused, would_open = b"", b""
    if raw.startswith(_REFUSED):
        refused, raw = _first_part(raw, _REFUSED)
    if raw.startswith(_WOULD_OPEN):
        would_open, raw = _first_part(raw, _WOULD_OPEN)
    outcome, transitions, state, generation, opened, changed, resume, *counts = raw.split(b" ", 12)
    failures, successes, probed, now, reason_bytes, texts = counts
    now_us, resume_us, reason_end = int(now), int(resume), int(reason_bytes)
    by, later = _split_end(texts[reason_end:])
    circuit = Circuit(
        name=name,
        state=_STATES[state],
        generation=int(generation),
        failures=int(failures),
        failure_threshold=rules.failure_threshold,
        window_seconds=rules.window_us / 1_000_000,
        opened_at=_seconds(opened),
        changed_at=_seconds(changed),
        reason=texts[:reason_end].decode("utf-8", "replace"),
        retry_after=max(0, resume_us - now_us) / 1_000_000 if resume_us else None,
        by=by.decode("utf-8", "replace"),
        successes=int(successes),
        probe_successes=int(probed),
        resume_at=_seconds(resume),
        as_of=now_us / 1_000_000,
        failed_attempts=int(later[0]),
        last_success_at=_seconds(later[1]),
        probe_failures=int(later[2]),
        ends_as=_STATES.get(later[3]),
        stops_app=later[4:] != _KEEPS_APP,
    )
    return Change(
        circuit,
        int(transitions),
        _OUTCOMES.get(outcome) or outcome.decode(),
        would_open.decode("utf-8", "replace"),
        refused.decode("utf-8", "replace"),
    )


def _first_part(raw: bytes, name: bytes) -> tuple[bytes, bytes]:
    """Return a named text, which its length precedes, and the rest of the reply."""
    size, _, rest = raw[len(name) :].partition(b" ")
    return rest[: int(size)], rest[int(size) + 1 :]


def push(message: bytes | str) -> tuple[str, bytes]:
    """Return a dependency's name and a script's reply, which is empty for a registration."""
    raw = message if isinstance(message, bytes) else message.encode()
    name, _, reply = raw.partition(b" ")
    return name.decode("utf-8", "replace"), reply


def _split_end(rest: bytes) -> tuple[bytes, list[bytes]]:
    """Return the operator's name and the values behind it, which an earlier version omits."""
    by, line, end = rest.rpartition(b"\n")
    values = end.split(b" ")
    if line and len(values) in {4, 5} and all(map(bytes.isdigit, values[:3])):
        return by, values
    return rest, [b"0", b"0", b"0", b"-"]


def _seconds(at_us: bytes) -> float | None:
    return None if at_us == b"0" else int(at_us) / 1_000_000


def alerts(name: str, entries: Iterable[tuple[bytes | str, Any]]) -> tuple[Alert, ...]:
    """Return the alerts of entries of the outbox.

    An alert that this version cannot read stays in the outbox for a newer version, and delays no
    other alert.
    """
    found = []
    for entry, fields in entries:
        try:
            found.append(_alert(name, text(entry), _mapping(fields)))
        except (KeyError, ValueError) as error:
            logger.warning(
                "Circuit %s: alert %s is unreadable and stays in the outbox for a newer version of "
                "the app: %s: %s",
                *(name, text(entry), type(error).__name__, error),
            )
    return tuple(found)


def _alert(name: str, entry: str, values: Mapping[str, str]) -> Alert:
    return alert_of(
        name,
        CircuitEvent(values["event"]),
        int(values["generation"]),
        int(values["at_us"]),
        failures=int(values["failures"]),
        successes=int(values["successes"]),
        failure_threshold=int(values["failure_threshold"]),
        window_us=int(values["window_us"]),
        errors=json.loads(values["errors"]),
        reason=values["reason"],
        by=values["by"],
        instance=values["instance"],
        resume_at_us=int(values.get("resume_at_us", 0)),  # absent in an earlier version's alerts
        ends_as=_ends_as(values.get("ends_as", "-")),
        stops_app=_stops_app(values),
        entry=entry,
    )


def _stops_app(values: Mapping[str, str]) -> bool:
    """Return the value of an entry; in an earlier version each opening stopped the app."""
    return values.get("stops_app", "1") != "0"


def _ends_as(stored: str) -> str | None:
    return None if stored == "-" else stored


def step_text(step: Step) -> str:
    """Return the stored form of a step."""
    return json.dumps([step.generation, step.accepted, step.detail, step.by])


def chain(reply: Any) -> ChainStatus:
    """Return the record of the chain."""
    waiting, stop, start, repeats, at_us = reply
    rows = [
        Waiting(
            int(generation),
            text(run),
            WaitsFor(text(waits_for)),
            int(registered) / 1_000_000,
            int(attempts),
        )
        for generation, run, waits_for, registered, attempts in waiting
    ]
    return ChainStatus(
        tuple(sorted(rows, key=waiting_order)),
        _step(StepKind.STOP, text(stop)),
        _step(StepKind.START, text(start)),
        int(repeats),
        int(at_us) / 1_000_000 if int(repeats) else None,
    )


def _step(kind: StepKind, stored: str) -> Step | None:
    at_us, _, document = stored.partition(" ")
    if not document:
        return None
    generation, accepted, detail, by = json.loads(document)
    return Step(kind, generation, accepted, detail, int(at_us) / 1_000_000, by)


def seen(rows: Iterable[Any]) -> list[Seen]:
    """Return the registered instances in the reply of registered.lua."""
    return [
        Seen(text(name), int(at_us) / 1_000_000, text(settings))
        for name, at_us, settings in batched(rows, 3)
    ]


def history(name: str, entries: Iterable[tuple[bytes | str, Any]]) -> list[HistoryEntry]:
    """Return a circuit's history from its stream; a newer version's entry may be left out."""
    found = []
    for _, fields in entries:
        with suppress(KeyError, ValueError):
            found.append(_history_entry(name, _mapping(fields)))
    return found


def _history_entry(name: str, values: Mapping[str, str]) -> HistoryEntry:
    return HistoryEntry(
        event=values["event"],
        generation=int(values["generation"]),
        by=values["by"],
        at=int(values["at_us"]) / 1_000_000,
        reason=values["reason"],
        instance=values["instance"],
        kind=kind_of(name, stops_app=_stops_app(values)),
    )


def _mapping(values: Any) -> dict[str, str]:
    """Return the fields of a stream entry, from a script's flat list or the client's mapping."""
    if isinstance(values, Mapping):
        return {text(key): text(value) for key, value in values.items()}
    return {text(key): text(value) for key, value in zip(values[::2], values[1::2], strict=True)}
