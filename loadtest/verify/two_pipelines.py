"""The check that what happens to one of two pipelines never touches the other.

While the *hit* pipeline is open or isolated, the other one continues. The operator lets the hit
pipeline continue only when the other has handled every event that it had been sent. An event of the
other pipeline is therefore *held* if it was enqueued before such a time and handled after it: facts
that do not depend on the speed of the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.verify.circuit_check import CALL_GRACE_US, GRACE_US
from loadtest.verify.evidence import Alert, LedgerEntry, Transition
from loadtest.verify.verdict import Diff

KIND = "pipeline"
LEAST_WHILE_HELD = 40
"""The least events of the other pipeline in each such time, below which nothing was tested."""

type Ledgers = Iterable[tuple[str, Sequence[LedgerEntry]]]


@dataclass(frozen=True, slots=True)
class Kept:
    """The data that a pipeline keeps for an operator.

    Attributes:
        poison: the documents of the poison queue by id.
        parked: the events behind them, as key and counter.
    """

    poison: Mapping[object, Mapping[str, Any]]
    parked: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, documents: Iterable[Mapping[str, Any]], parked: frozenset[tuple[str, int]]) -> Kept:
        """Return what a poison queue and the parked lists hold."""
        return cls({document.get("id"): document for document in documents}, parked)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the hit pipeline may not run, by Redis's clock."""

    state: str
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesEvidence:
    """The evidence about both pipelines.

    Attributes:
        hit, other: the names of the pipelines.
        circuits: the names of their circuits, by pipeline.
        histories: the transitions of their circuits, by pipeline.
        ledgers: their handled events, by pipeline; each is read once.
        alerts: all alerts that reached the topic.
        moves: the calls of the workflow that stop or start the app.
        app_states: the states of the function app that were seen.
        before, after: what the other pipeline kept before and after the redrive of the hit one.
        redriven: the poison messages of the hit pipeline before that redrive.
    """

    hit: str
    other: str
    circuits: Mapping[str, str]
    histories: Mapping[str, Sequence[Transition]]
    ledgers: Mapping[str, Ledgers]
    alerts: Sequence[Alert]
    moves: Sequence[str] = ()
    app_states: frozenset[str] = frozenset()
    before: Kept
    after: Kept
    redriven: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesVerdict:
    """The figures of a run with two pipelines.

    Attributes:
        while_held: the events of the other pipeline that were handled while the hit one was open or
            isolated.
        held: the events of the other pipeline that waited for the hit one.
        redriven: the poisoned events of the hit pipeline that were replayed.
        kept: the poisoned and parked events of the other pipeline that the redrive left alone.
        broken: one line for each broken promise.
    """

    while_held: int
    held: int
    redriven: int
    kept: int
    broken: tuple[str, ...] = ()
    diff: tuple[str, ...] = field(default=(), repr=False)


def spans_of(history: Iterable[Transition]) -> list[Span]:
    """Return the times in which a circuit was open or isolated, and that have ended."""
    spans: list[Span] = []
    since: Transition | None = None
    for transition in history:
        if transition.event in {"opened", "isolated"}:
            since = since or transition
        elif transition.event in {"half_opened", "closed"} and since is not None:
            spans.append(Span(since.event, since.at_us, transition.at_us))
            since = None
    return spans


def judge(evidence: PipelinesEvidence) -> PipelinesVerdict:
    """Return the verdict on the evidence about both pipelines."""
    diff = Diff()
    hit, other = evidence.hit, evidence.other
    spans = spans_of(evidence.histories[hit])
    while_held = [0] * len(spans)
    for key, entries in evidence.ledgers[other]:
        for entry in entries:
            for index, span in enumerate(spans):
                at_us = entry.appended_us
                while_held[index] += span.since_us + GRACE_US <= at_us < span.until_us
                if entry.enqueued_ms * 1000 < span.since_us and at_us > span.until_us:
                    what = f"{key} #{entry.counter} of {other} waited while {hit}"
                    diff.add("held", f"{what} was {span.state}")
    for key, entries in evidence.ledgers[hit]:
        for entry in entries:
            for span in spans:
                # Events in flight at that time finish within their attempts.
                if span.since_us + CALL_GRACE_US <= entry.appended_us < span.until_us:
                    what = f"{key} #{entry.counter} of {hit} was handled while {hit}"
                    diff.add("handled while held", f"{what} was {span.state}")
    lines = [*_while_held(evidence, spans, while_held), *_circuits(evidence), *_kept(evidence)]
    if count := diff.count("held"):
        lines.append(f"{count} events of {other} waited for {hit}")
    if count := diff.count("handled while held"):
        lines.append(f"{count} events of {hit} were handled while its circuit held them")
    return PipelinesVerdict(
        while_held=sum(while_held),
        held=diff.count("held"),
        redriven=evidence.redriven,
        kept=len(evidence.after.poison) + len(evidence.after.parked),
        broken=tuple(lines),
        diff=diff.lines(),
    )


def _while_held(
    evidence: PipelinesEvidence, spans: Sequence[Span], counts: Sequence[int]
) -> Iterator[str]:
    if not spans:
        yield f"{evidence.hit} was never open or isolated, so the run has tested nothing"
    for span, count in zip(spans, counts, strict=True):
        if count < LEAST_WHILE_HELD:
            yield (
                f"{count} events of {evidence.other} were handled while {evidence.hit} was "
                f"{span.state}, expected at least {LEAST_WHILE_HELD}"
            )


def _circuits(evidence: PipelinesEvidence) -> Iterator[str]:
    names = {name: pipeline for pipeline, name in evidence.circuits.items()}
    for alert in evidence.alerts:
        pipeline = names.get(alert.circuit.partition("/")[0])
        if pipeline is None:
            yield f"the alert {alert.id} is about the circuit of no pipeline"
        elif not alert.dependency and alert.kind != KIND:
            yield f"the alert {alert.id} has the kind {alert.kind!r}, expected {KIND}"
    for transition in evidence.histories[evidence.other]:
        yield (
            f"the circuit of {evidence.other} moved ({transition.event}, by "
            f"{transition.by or 'itself'}), expected nothing"
        )
    for move in evidence.moves:
        yield f"the workflow called the platform: {move}"
    for state in sorted(evidence.app_states - {"Running"}):
        yield f"the function app was {state}, expected Running"


def _kept(evidence: PipelinesEvidence) -> Iterator[str]:
    before, after = evidence.before, evidence.after
    if not evidence.redriven or not before.poison:
        yield "a pipeline had no poison event, so the redrive has tested nothing"
    ids = before.poison.keys() | after.poison.keys()
    changed = [each for each in ids if before.poison.get(each) != after.poison.get(each)]
    if changed:
        yield (
            f"the redrive of {evidence.hit} changed {len(changed)} poison messages of "
            f"{evidence.other}"
        )
    if before.parked != after.parked:
        moved = len(before.parked ^ after.parked)
        yield f"the redrive of {evidence.hit} moved {moved} parked events of {evidence.other}"
