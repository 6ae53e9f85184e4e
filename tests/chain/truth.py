"""The comparison of history, status, page and mails with what happened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from breaker.chain import ALERT_REPEATED, APPROVAL_REQUESTED, STEP_EVENTS, StepKind
from breaker.state import HistoryEntry
from local.workflow.view import opening_of
from tests.chain.alarms import template_alarms
from tests.chain.clocks import MINUTE
from tests.chain.faults import Call
from tests.chain.kinds import Kind
from tests.chain.workflow_process import generation_of
from tests.chain.world import Done, World

_REPEATED_SECONDS = 10 * MINUTE
"""Longest time from the start of an action to its last attempt, with the timeout of each."""
_CALLS = {StepKind.STOP: Call.STOP, StepKind.START: Call.START}
_UNIQUE = re.compile(r"[0-9a-f]{24}|(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC")
_MAIL = re.compile(r"could not be stopped \((no answer|HTTP (\d+)), ")


async def untruths(world: World) -> list[str]:
    """Return the statements on record that are not true now."""
    if world.console.away:
        return []
    breaker = world.console.circuits.own
    if breaker is None:
        return []
    status, history = await breaker.approvals.status(), await breaker.history(1_000)
    found = [*_steps(world, history), *_requests(world, history)]
    runs = {run.id: generation_of(run) for run in world.workflow.runs() if not run.status.is_final}
    if not _has_lost_reports(world):
        found += [
            f"the status says that a run of generation {each.generation} waits, but it has ended"
            for each in status.waiting
            if each.run not in runs
        ]
    page = await world.console.request("GET", f"{world.kind.path}/app")
    assert isinstance(page.body, dict)
    found += _page(world, [str(line["text"]) for line in page.body["lines"]], runs)
    return found


def touched(world: World) -> Iterator[str]:
    """Yield what happened to the other pipeline's circuit, which was isolated by hand before."""
    other = world.stores.other
    expected = ("closed", 0) if other.lost_at else ("isolated", 1)
    found = (str(other._record.state), other._record.generation)
    if found != expected:
        yield f"the circuit of the other pipeline is {found}, expected {expected}"
    circuits = {opening_of(run)["name"] for run in world.workflow.runs()}
    if circuits - {world.kind.circuit}:
        yield f"the workflow runs for {', '.join(sorted(circuits))}"


def wrong_mails(world: World) -> Iterator[str]:
    """Yield what the mails say wrongly about the stop."""
    for mail in (each for each in world.done_requests if each.seen.call is Call.MAIL):
        text = str(mail.seen.body)
        if world.kind is not Kind.APP:
            if "does not stop the function app" not in text or "accepted the call" in text:
                yield f"a mail does not say that the app is not stopped for a {world.kind.noun}"
            continue
        stops = [
            seen.status
            for seen in world.workflow.seen
            if seen.call is Call.STOP and seen.at <= mail.seen.at
        ]
        if "accepted the call to stop" in text:
            if 200 not in stops:
                yield "a mail says that the stop was accepted"
        elif (named := _MAIL.search(text)) is None:
            yield "a mail does not say what came of the stop"
        elif (int(named[2]) if named[2] else None) not in stops:
            yield f"a mail says that the answer to the stop was {named[1]}"
        if "still runs" in text and not _ran(world, mail):
            yield "a mail says that the app still runs, but the app was stopped"


async def is_silent(world: World) -> bool:
    """Return whether the app runs while its circuit is open, and nothing says so.

    Something says so if a refused stop or a later start is on record, if the opening was announced
    again, or if an alarm fired.
    """
    if world.kind is not Kind.APP:
        return False  # the app should run; the judge asks whether somebody is asked
    if world.state != "open" or not world.site.running or world.console.away:
        return False
    breaker = world.console.circuits.own
    if breaker is None:
        return False
    history = await breaker.history(1_000)
    refused = STEP_EVENTS[StepKind.STOP, False]
    started, opened = STEP_EVENTS[StepKind.START, True], breaker.circuit.opened_at or 0.0
    recorded = any(
        (entry.event in {refused, ALERT_REPEATED} and entry.generation == world.generation)
        or (entry.event == started and entry.at >= opened)
        for entry in history
    )
    alarmed = world.alarms_since(template_alarms(), world.clock.start)
    return not recorded and not alarmed and not _is_started_late(world)


def _is_started_late(world: World) -> bool:
    """Return whether the platform carried out a start long after the request."""
    starts = [each for each in world.done_requests if each.seen.call is Call.START]
    return bool(starts) and starts[-1].at > starts[-1].seen.at + MINUTE


def _page(world: World, lines: list[str], runs: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines of the page that are not true.

    Args:
        world: the world.
        lines: the page's lines about the app.
        runs: the generation of each unfinished run.
    """
    waiting = {
        run.id
        for run in world.workflow.runs()
        if any(record.subscribed and not record.status.is_final for record in run.actions.values())
    }
    known = not world.store.lost_at  # an emptied Redis has lost who asked
    for line in lines:
        named = [run for run in runs if run in line]
        claims = {
            "says: stopped": not world.site.running,
            "says: running": world.site.running,
            "The app still runs": world.site.running,
            "Approval asked for": bool(named),
            "waits for a start": bool(named) or _has_lost_reports(world),
            "then it starts the app": bool(named) or _has_lost_reports(world),
            "nobody has asked for approval": not known
            or not any(runs[run] == world.generation for run in waiting & runs.keys()),
            "nobody will start it": not known or not waiting & runs.keys(),
        }
        for claim, is_true in claims.items():
            if claim in line and not is_true:
                yield f"the page says: {_UNIQUE.sub('…', line)}"


def _has_lost_reports(world: World) -> bool:
    """Return whether a report of the steps did not reach the console, or Redis lost its effect."""
    reports = [seen for seen in world.workflow.seen if seen.call is Call.REPORT]
    return any(seen.status != 200 for seen in reports)


def _steps(world: World, history: list[HistoryEntry]) -> Iterator[str]:
    for entry in history:
        for (kind, accepted), event in STEP_EVENTS.items():
            if entry.event != event or not entry.by.startswith("workflow run"):
                continue
            answers = [
                seen.status == 200
                for seen in world.workflow.seen
                if seen.call is _CALLS[kind]
                and entry.at - 1 <= seen.at <= entry.at + _REPEATED_SECONDS
            ]
            if accepted not in answers:
                yield f"the history has {event}, which no answer says"


def _requests(world: World, history: list[HistoryEntry]) -> Iterator[str]:
    asked = {
        each.seen.body["generation"]
        for each in world.done_requests
        if each.seen.call is Call.SUBSCRIBE and each.status < 300
    }
    for entry in history:
        if entry.event == APPROVAL_REQUESTED and entry.generation not in asked:
            yield f"the history has a request for approval of generation {entry.generation}"


def _ran(world: World, mail: Done) -> bool:
    before = [each for each in world.site.operations if each.at <= mail.at]
    return not before or before[-1].kind == "start"
