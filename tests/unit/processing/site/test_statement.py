"""The statement about the app in each case: never more than was seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from breaker import Circuit, CircuitState
from breaker.chain import ChainStatus, Step, StepKind, Waiting, WaitsFor
from breaker.configuration.pipelines import pipelines_of
from processing.site.statement import (
    RUN_START,
    Reports,
    Seen,
    SiteView,
    refusal_of_start,
    refusal_of_stop,
    statement,
    when,
)
from processing.site.watch import held_by

DAY = datetime(2026, 11, 28, tzinfo=UTC).timestamp()


def at(clock: str) -> float:
    """Return a time of the day, such as "03:12:05", as seconds since the epoch."""
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return DAY + hours * 3600 + minutes * 60 + seconds


def circuit(state: CircuitState, changed: str = "03:12:00", generation: int = 3) -> Circuit:
    """Return a circuit whose last opening and last change were at one time."""
    return Circuit(
        "c", state, generation, opened_at=at("03:12:00"), changed_at=at(changed), reason="boom"
    )


OPEN, CLOSED = circuit(CircuitState.OPEN), circuit(CircuitState.CLOSED, "03:20:00")
HALF_OPEN = circuit(CircuitState.HALF_OPEN, "03:20:00")
ISOLATED = circuit(CircuitState.ISOLATED, "03:12:00")


def step(kind: StepKind, clock: str, detail: str = "HTTP 200", **fields: object) -> Step:
    """Return a step of generation 3 by a workflow run, accepted with status 200."""
    made = Step(kind, 3, detail == "HTTP 200", detail, at(clock), "workflow run 0859")
    return replace(made, **fields)  # type: ignore[arg-type]


def stop(clock: str = "03:12:05", detail: str = "HTTP 200", **fields: object) -> Step:
    return step(StepKind.STOP, clock, detail, **fields)


def start(clock: str = "03:20:05", detail: str = "HTTP 200", **fields: object) -> Step:
    return step(StepKind.START, clock, detail, **fields)


def run(waits_for: WaitsFor = WaitsFor.APPROVAL, clock: str = "03:12:09") -> Waiting:
    return Waiting(3, "0859", waits_for, at(clock))


ASKED = (run(),)
NONE = Reports(known_since=at("02:30:00"))


def reports(*last: tuple[str, str], handled: str = "", since: str = "02:30:00") -> Reports:
    """Return reports of instances (name, time of the last one)."""
    return Reports(
        tuple((name, at(clock)) for name, clock in last),
        at(since),
        at(handled) if handled else None,
    )


def azure(state: str, clock: str, error: str = "") -> SiteView:
    return SiteView(state, at(clock), error)


def texts(
    now: str,
    circuit: Circuit,
    chain: ChainStatus | None,
    site: SiteView | None,
    seen: Reports | None = NONE,
) -> list[str]:
    """Return the lines, each after the first letter of its level."""
    lines = statement(Seen(circuit, chain, site, seen, at(now)))
    return [f"{line.level[0]} {line.text}" for line in lines]


A_AND_B = (("a", "03:22:03"), ("b", "03:22:01"))
NOBODY_REPORTS = "n No instance reports; no report of the last hour is on record."
STOPPED = "n Azure says: stopped (seen 03:22:00 UTC)."
RUNNING = "o Azure says: running (seen 03:22:00 UTC)."
STOP = "o Stop asked at 03:12:05 UTC by workflow run 0859, accepted."
START = "Start asked at 03:20:05 UTC by workflow run 0859, accepted;"
ASKED_LINE = "o Approval asked for at 03:12:09 UTC by workflow run 0859."
NOBODY_STARTS = (
    "w The app is stopped, the circuit is {}, and no run waits: nobody will start it. Press Start."
)

TABLE: dict[str, tuple[str, Circuit, ChainStatus | None, SiteView | None, Reports, list[str]]] = {
    "running": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [RUNNING, "o 2 instances report: a, b."],
    ),
    "running, and no instance was needed for some minutes": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        azure("Running", "03:22:00"),
        reports(("a", "03:15:00")),
        [RUNNING, "n No instance reports; the last report came at 03:15:00 UTC from a."],
    ),
    "never opened": (
        "03:22:05",
        Circuit("c"),
        ChainStatus(),
        azure("Running", "03:22:00"),
        NONE,
        [RUNNING, NOBODY_REPORTS],
    ),
    "no address of the app": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        None,
        NONE,
        [
            "n The app's state is not read, because FUNCTION_APP_URL is not set.",
            NOBODY_REPORTS,
        ],
    ),
    "not read yet": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        SiteView(),
        NONE,
        ["n Azure has not said yet whether the app runs.", NOBODY_REPORTS],
    ),
    "state not readable": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        azure("Stopped", "03:10:00", "Azure did not answer within 8 s"),
        NONE,
        [
            "w The app's state is not known: Azure did not answer within 8 s. The last answer "
            "was: stopped (seen 03:10:00 UTC).",
            NOBODY_REPORTS,
        ],
    ),
    "Redis away": (
        "03:22:05",
        OPEN,
        None,
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            "w Redis does not answer, so stops, starts and waiting runs are not known.",
        ],
    ),
    "just opened": (
        "03:12:03",
        OPEN,
        ChainStatus(),
        azure("Running", "03:11:50"),
        reports(("a", "03:12:02")),
        [
            "o Azure says: running (seen 03:11:50 UTC).",
            "o 1 instance reports: a.",
            "n The circuit opened at 03:12:00 UTC; nobody has asked for approval yet.",
        ],
    ),
    "stop accepted a moment ago": (
        "03:12:12",
        OPEN,
        ChainStatus(ASKED, stop()),
        azure("Running", "03:12:04"),
        reports(("a", "03:12:10"), ("b", "03:12:11")),
        [
            "o Azure says: running (seen 03:12:04 UTC).",
            STOP,
            "n 2 instances still report less than a minute after the stop: a, b.",
            ASKED_LINE,
        ],
    ),
    "stop accepted, and no instance has reported since": (
        "03:12:08",
        OPEN,
        ChainStatus((), stop()),
        azure("Running", "03:12:04"),
        reports(("a", "03:12:05"), ("b", "03:12:01")),
        [
            "o Azure says: running (seen 03:12:04 UTC).",
            STOP,
            "n No instance has reported since the stop; the last report came at 03:12:05 UTC "
            "from a.",
            "n The circuit opened at 03:12:00 UTC; nobody has asked for approval yet.",
        ],
    ),
    "stopped, waiting for an approval": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop()),
        azure("Stopped", "03:22:00"),
        reports(("a", "03:12:40"), ("b", "03:12:31")),
        [
            STOPPED,
            STOP,
            "o No instance reports; the last report came at 03:12:40 UTC from a.",
            ASKED_LINE,
        ],
    ),
    "instances report ten minutes after the stop": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop()),
        azure("Stopped", "03:22:00"),
        reports(*A_AND_B),
        [
            STOPPED,
            STOP,
            "w 2 instances still report ten minutes after the stop: a, b.",
            ASKED_LINE,
        ],
    ),
    "stop accepted and without an effect": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop()),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            STOP,
            "w Azure still says running ten minutes after the stop.",
            "w 2 instances still report ten minutes after the stop: a, b.",
            ASKED_LINE,
        ],
    ),
    "stop refused": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop(detail="HTTP 409")),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            "w The stop asked at 03:12:05 UTC by workflow run 0859 was refused: HTTP 409. "
            "The app still runs; its circuit holds all events.",
            "o 2 instances report: a, b.",
            ASKED_LINE,
        ],
    ),
    "stop refused, and the app's state is not known": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop(detail="HTTP 409")),
        None,
        NONE,
        [
            "n The app's state is not read, because FUNCTION_APP_URL is not set.",
            "w The stop asked at 03:12:05 UTC by workflow run 0859 was refused: HTTP 409. "
            "The app may still run; its circuit holds all events.",
            NOBODY_REPORTS,
            ASKED_LINE,
        ],
    ),
    "stop without an answer that took effect": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop(detail="")),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            "n The stop asked at 03:12:05 UTC by workflow run 0859 was not confirmed.",
            NOBODY_REPORTS,
            ASKED_LINE,
        ],
    ),
    "stop refused, and closed since": (
        "03:22:05",
        CLOSED,
        ChainStatus((), stop(detail="no answer")),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            "w The stop asked at 03:12:05 UTC by workflow run 0859 was not confirmed: no answer. "
            "The app still runs; its circuit lets events through.",
            "o 2 instances report: a, b.",
        ],
    ),
    "nobody asked": (
        "03:22:05",
        OPEN,
        ChainStatus(),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            "w No stop of this opening is on record.",
            "o 2 instances report: a, b.",
            "w The circuit opened at 03:12:00 UTC and nobody has asked for approval.",
        ],
    ),
    "nobody asked, announced again": (
        "03:22:05",
        OPEN,
        ChainStatus(repeats=3, repeated_at=at("03:19:00"), stop=stop()),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            "w The circuit opened at 03:12:00 UTC and nobody has asked for approval. "
            "An approval alone does not start the app.",
            "w The opening was announced again 3 times, last at 03:19:00 UTC.",
        ],
    ),
    "announced again once, then asked": (
        "03:22:05",
        OPEN,
        ChainStatus(ASKED, stop(), repeats=1, repeated_at=at("03:14:00")),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            ASKED_LINE,
            "n The opening was announced again once, at 03:14:00 UTC.",
        ],
    ),
    "opened with automatic recovery": (
        "03:22:05",
        replace(OPEN, resume_at=at("03:22:30")),
        ChainStatus((), stop()),
        azure("Stopped", "03:22:00"),
        NONE,
        [STOPPED, STOP, NOBODY_REPORTS],
    ),
    "approved a moment ago": (
        "03:20:03",
        HALF_OPEN,
        ChainStatus((), stop()),
        azure("Stopped", "03:20:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:20:00 UTC).",
            STOP,
            NOBODY_REPORTS,
            "n The app is stopped and the circuit is half-open; no start is on record yet.",
        ],
    ),
    "start accepted a moment ago, state read before": (
        "03:20:08",
        HALF_OPEN,
        ChainStatus((), stop(), start()),
        azure("Stopped", "03:20:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:20:00 UTC).",
            NOBODY_REPORTS,
            f"n {START} no instance has reported a handled event since.",
        ],
    ),
    "started, first event handled": (
        "03:22:05",
        CLOSED,
        ChainStatus((), stop(), start()),
        azure("Running", "03:22:00"),
        reports(*A_AND_B, handled="03:20:31"),
        [
            RUNNING,
            "o 2 instances report: a, b.",
            f"o {START} the instances report the first event handled at 03:20:31 UTC.",
        ],
    ),
    "started, the hub is empty": (
        "03:50:05",
        CLOSED,
        ChainStatus((), stop(), start()),
        azure("Running", "03:50:00"),
        reports(("a", "03:50:01")),
        [
            "o Azure says: running (seen 03:50:00 UTC).",
            "o 1 instance reports: a.",
            f"n {START} no instance has reported a handled event since.",
        ],
    ),
    "started, no instance came": (
        "03:50:05",
        CLOSED,
        ChainStatus((), stop(), start()),
        azure("Running", "03:50:00"),
        NONE,
        [
            "o Azure says: running (seen 03:50:00 UTC).",
            NOBODY_REPORTS,
            f"w {START} no instance has reported a handled event since.",
        ],
    ),
    "started, reports reach back less far": (
        "03:50:05",
        CLOSED,
        ChainStatus((), stop(), start()),
        azure("Running", "03:50:00"),
        reports(("a", "03:50:01"), since="03:40:00"),
        [
            "o Azure says: running (seen 03:50:00 UTC).",
            "o 1 instance reports: a.",
            f"n {START} the reports on record do not say when the first event was handled.",
        ],
    ),
    "started while the circuit is isolated": (
        "03:22:05",
        ISOLATED,
        ChainStatus((), stop(generation=2), start()),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            "o 2 instances report: a, b.",
            f"n {START} the circuit holds all events.",
        ],
    ),
    "start refused": (
        "03:22:05",
        CLOSED,
        ChainStatus((), stop(), start(detail="HTTP 403")),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            "w The start asked at 03:20:05 UTC by workflow run 0859 was refused: HTTP 403. "
            "Press Start.",
        ],
    ),
    "start refused, and the run tries again": (
        "03:22:05",
        CLOSED,
        ChainStatus((run(WaitsFor.START, "03:21:00"),), stop(), start(detail="HTTP 403")),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            "n Workflow run 0859 waits for a start since 03:21:00 UTC and will try again itself.",
            "w The start asked at 03:20:05 UTC by workflow run 0859 was refused: HTTP 403. "
            "Press Start.",
        ],
    ),
    "start refused, and the app runs nevertheless": (
        "03:22:05",
        CLOSED,
        ChainStatus((), stop(), start(detail="no answer")),
        azure("Running", "03:22:00"),
        reports(*A_AND_B),
        [
            RUNNING,
            STOP,
            "o 2 instances report: a, b.",
            "n The start asked at 03:20:05 UTC by workflow run 0859 was not confirmed: no answer.",
        ],
    ),
    "a run waits for a start, and the refusal is not on record": (
        "03:22:05",
        CLOSED,
        ChainStatus((run(WaitsFor.START, "03:21:00"),), stop()),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            "w Workflow run 0859 waits for a start since 03:21:00 UTC and will try again itself. "
            "Press Start.",
        ],
    ),
    "start accepted and without an effect": (
        "03:23:05",
        CLOSED,
        ChainStatus((), stop(), start()),
        azure("Stopped", "03:23:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:23:00 UTC).",
            NOBODY_REPORTS,
            f"n {START} no instance has reported a handled event since.",
            "w Azure still says stopped three minutes after the start. Press Start.",
        ],
    ),
    "left stopped, closed": (
        "03:50:05",
        CLOSED,
        ChainStatus((), stop()),
        azure("Stopped", "03:50:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:50:00 UTC).",
            STOP,
            NOBODY_REPORTS,
            NOBODY_STARTS.format("closed"),
        ],
    ),
    "left stopped, isolated": (
        "03:50:05",
        ISOLATED,
        ChainStatus((), stop(generation=2)),
        azure("Stopped", "03:50:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:50:00 UTC).",
            STOP,
            NOBODY_REPORTS,
            NOBODY_STARTS.format("isolated"),
        ],
    ),
    "left stopped without any record, as after a loss of Redis' data": (
        "03:50:05",
        Circuit("c"),
        ChainStatus(),
        azure("Stopped", "03:50:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:50:00 UTC).",
            NOBODY_REPORTS,
            NOBODY_STARTS.format("closed"),
        ],
    ),
    "stopped while a run waits": (
        "03:50:05",
        CLOSED,
        ChainStatus(ASKED, stop()),
        azure("Stopped", "03:50:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:50:00 UTC).",
            STOP,
            NOBODY_REPORTS,
            "w Workflow run 0859 is not called back yet; then it starts the app. Press Start.",
        ],
    ),
    "approved a moment ago, the run is being called": (
        "03:20:03",
        HALF_OPEN,
        ChainStatus((replace(run(), attempts=2),), stop()),
        azure("Stopped", "03:20:00"),
        NONE,
        [
            "n Azure says: stopped (seen 03:20:00 UTC).",
            STOP,
            NOBODY_REPORTS,
            "n Workflow run 0859 is not called back yet (2 calls failed); then it starts the app.",
        ],
    ),
    "the run of the opening before waits as well": (
        "03:22:05",
        replace(OPEN, generation=4),
        ChainStatus((*ASKED, replace(run(), generation=4, run="0860")), stop(generation=4)),
        azure("Stopped", "03:22:00"),
        NONE,
        [
            STOPPED,
            STOP,
            NOBODY_REPORTS,
            "o Approval asked for at 03:12:09 UTC by workflow run 0860.",
        ],
    ),
    "instances report although the app is said to be stopped": (
        "03:22:05",
        CLOSED,
        ChainStatus(),
        azure("Stopped", "03:22:00"),
        reports(*A_AND_B),
        [STOPPED, "w 2 instances report: a, b.", NOBODY_STARTS.format("closed")],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_each_case_says_what_was_seen(case: str) -> None:
    now, seen_circuit, chain, site, seen_reports, expected = TABLE[case]
    assert texts(now, seen_circuit, chain, site, seen_reports) == expected


@pytest.mark.parametrize("case", TABLE)
def test_stopped_is_said_only_if_the_management_said_it(case: str) -> None:
    """Without the management's word no line calls the app stopped, whatever is on record."""
    now, seen_circuit, chain, _, seen_reports, _ = TABLE[case]
    for site in (None, azure("Running", now), SiteView(error="Azure did not answer")):
        found = " ".join(texts(now, seen_circuit, chain, site, seen_reports))
        assert "stopped" not in found


@pytest.mark.parametrize("case", TABLE)
def test_running_is_said_only_if_it_was_seen(case: str) -> None:
    """Without the management's word and without reports no line says that the app runs."""
    now, seen_circuit, chain, _, _, _ = TABLE[case]
    found = " ".join(texts(now, seen_circuit, chain, None, NONE))
    assert "running" not in found
    assert "still runs" not in found
    assert "first event handled at" not in found


def test_unreadable_reports_are_said() -> None:
    """Missing reports must not look like a stopped app."""
    found = texts("03:22:05", CLOSED, ChainStatus(), azure("Running", "03:22:00"), None)
    assert found[1] == "w The reports of the instances cannot be read."


def test_old_start_is_not_mentioned() -> None:
    """A start of yesterday does not matter any more."""
    old = Step(StepKind.START, 3, True, "HTTP 200", at("03:20:05") - 86_400, "ada")
    chain = ChainStatus(start=old)
    found = texts("03:22:05", CLOSED, chain, azure("Running", "03:22:00"), reports(*A_AND_B))
    assert found == [RUNNING, "o 2 instances report: a, b."]


def test_the_command_names_the_command() -> None:
    """The command line has no button."""
    seen = Seen(
        CLOSED,
        ChainStatus(),
        azure("Stopped", "03:50:00"),
        NONE,
        at("03:50:05"),
        how_to_start=RUN_START,
    )
    assert statement(seen)[-1].text.endswith("Run `breakwater start`.")


def test_many_instances_are_counted() -> None:
    """Five names are shown."""
    many = reports(*((name, "03:22:04") for name in "abcdefg"))
    found = texts("03:22:05", CLOSED, ChainStatus(), azure("Running", "03:22:00"), many)
    assert found[1] == "o 7 instances report: a, b, c, d, e and 2 more."


def test_times_of_another_day_have_their_date() -> None:
    assert when(at("03:12:05"), at("23:59:59")) == "03:12:05 UTC"
    assert when(at("03:12:05"), at("23:59:59") + 1) == "2026-11-28 03:12:05 UTC"


@pytest.mark.parametrize(
    ("site", "chain", "start_refusal", "stop_refusal"),
    [
        (None, ChainStatus(), "FUNCTION_APP_URL is not set", "FUNCTION_APP_URL is not set"),
        (SiteView(), ChainStatus(), "", ""),
        (azure("Running", "03:22:00"), ChainStatus(), "Azure says: running", ""),
        (azure("Stopped", "03:22:00"), ChainStatus(), "", "Azure says: stopped"),
        (azure("Running", "03:22:00"), ChainStatus((), stop()), "", ""),
        (azure("Stopped", "03:22:00"), ChainStatus((), stop(), start("03:22:01")), "", ""),
        (
            azure("Running", "03:22:00"),
            ChainStatus((), stop(), start()),
            "Azure says: running",
            "",
        ),
        (azure("Running", "03:22:00", "Azure did not answer"), ChainStatus(), "", ""),
        (
            azure("Running", "03:22:00", "HTTP 403: Azure refused"),
            ChainStatus(),
            "HTTP 403: Azure refused",
            "HTTP 403: Azure refused",
        ),
        (azure("Running", "03:22:00"), None, "Azure says: running", ""),
    ],
)
def test_buttons_say_why_they_would_be_refused(
    site: SiteView | None, chain: ChainStatus | None, start_refusal: str, stop_refusal: str
) -> None:
    """An answer that is older than the last step refuses nothing."""
    seen = Seen(CLOSED, chain, site, NONE, at("03:22:05"))
    assert (refusal_of_start(seen), refusal_of_stop(seen)) == (start_refusal, stop_refusal)


def pipeline_texts(circuit: Circuit, chain: ChainStatus, site: SiteView) -> list[str]:
    """Return the lines about the stop and start of a circuit that does not stop the app."""
    lines = statement(Seen(circuit, chain, site, NONE, at("03:22:05"), stops_app=False))
    return [f"{line.level[0]} {line.text}" for line in lines if line.text != NOBODY_REPORTS[2:]]


def test_no_stop_is_missed_where_the_circuit_stops_nothing() -> None:
    """The pipeline holds, and the run that waits starts nothing."""
    holds = "n The circuit holds this pipeline's events, and does not stop the app."
    site = azure("Running", "03:22:00")
    found = pipeline_texts(OPEN, ChainStatus(waiting=ASKED), site)
    assert found == [RUNNING, holds, ASKED_LINE]
    late = pipeline_texts(CLOSED, ChainStatus(waiting=ASKED), site)
    assert late == [RUNNING, "n Workflow run 0859 is not called back yet."]


@pytest.mark.parametrize("state", [OPEN, ISOLATED, CLOSED])
@pytest.mark.parametrize(
    "chain", [ChainStatus(), ChainStatus((), stop("03:21:00", generation=0), start())]
)
def test_app_that_another_pipeline_stopped_is_not_offered_for_a_start(
    state: Circuit, chain: ChainStatus
) -> None:
    """A start would undo the stop of the other pipeline's workflow run."""
    found = pipeline_texts(state, chain, azure("Stopped", "03:22:00"))
    assert found[-1] == (
        "w The app is stopped, so this pipeline handles nothing. Its circuit has not stopped the "
        "app: look at the other pipelines before you start it."
    )
    assert not any("Press Start" in each or "No stop" in each for each in found)


def test_circuit_of_a_pipeline_holds_only_its_own_events() -> None:
    """A start of the app lets the other pipelines run, whatever this circuit holds."""
    started = ChainStatus((), stop(generation=2), start())
    refused = ChainStatus((), stop(generation=2, accepted=False, detail="HTTP 409"))
    (settings,) = (each.settings for each in pipelines_of({"PIPELINES": "audit"}))
    for chain, text in (
        (started, "the circuit holds this pipeline's events."),
        (refused, "its circuit holds this pipeline's events."),
    ):
        seen = Seen(ISOLATED, chain, None, NONE, at("03:22:05"), held=held_by(settings))
        assert any(text in line.text for line in statement(seen))
    assert held_by({}) == "all events"
