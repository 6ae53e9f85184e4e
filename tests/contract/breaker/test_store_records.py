"""The records of both stores beside the state: history, outbox, callbacks, pushes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from breaker import (
    Alert,
    BreakerSettings,
    Circuit,
    CircuitStore,
    ManualClock,
    Permit,
    Recovery,
    Step,
    StepKind,
    Waiting,
    WaitsFor,
)
from breaker.alerts.base import AlertBatch
from breaker.chain import FRESH_SECONDS
from breaker.state import CircuitState
from breaker.stores.base import CALLBACK_LIMIT, Callback, Registration
from tests.support.patience import HANG_SECONDS

RULES = BreakerSettings(name="c", failure_threshold=2, half_open_permits=1).rules("here:1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=1000.0)


async def open_it(store: CircuitStore, generation: int = 0) -> None:
    for number in range(2):
        failure = f"{generation}/{number}"
        await store.record_failure(RULES, failure, f"boom {number}", Permit(generation))


async def test_history_has_operator_time_and_reason(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Each transition is one entry, newest first; the approval precedes half-open."""
    await open_it(store)
    clock.advance(1)
    await store.approve(RULES, 1, "ann")
    clock.advance(1)
    await store.acquire(RULES, "p")
    await store.record_successes(RULES, "r", 1, Permit(1, "p"))
    clock.advance(1)
    await store.isolate(RULES, "bob", "maintenance")
    await store.close(RULES, 2, "bob", "done")
    opening = "2 failures within 30 s (threshold 2); last error: boom 1"
    entries = [
        (entry.event, entry.generation, entry.by, entry.at, entry.reason, entry.instance)
        for entry in await store.history(10)
    ]
    assert entries == [
        ("closed", 2, "bob", 1003.0, "done", "here:1"),
        ("isolated", 2, "bob", 1003.0, "maintenance", "here:1"),
        ("closed", 1, "", 1002.0, "1 probes succeeded", "here:1"),
        ("half_opened", 1, "ann", 1001.0, "approved by ann", "here:1"),
        ("approved", 1, "ann", 1001.0, "", "here:1"),
        ("opened", 1, "", 1000.0, opening, "here:1"),
    ]
    assert [entry.event for entry in await store.history(2)] == ["closed", "isolated"]


async def test_history_is_bounded(store: CircuitStore) -> None:
    """Only the newest entries are kept."""
    rules = BreakerSettings(name="c", history_limit=3).rules("here:1")
    for generation in range(1, 5):
        await store.isolate(rules, "ann", "x")
        await store.close(rules, generation, "ann", "y")
    assert [(e.event, e.generation) for e in await store.history(10)] == [
        ("closed", 4),
        ("isolated", 4),
        ("closed", 3),
    ]


async def test_snapshot_has_all_fields(store: CircuitStore, clock: ManualClock) -> None:
    """The snapshot of an open circuit has the opening, the reason and the end of the break."""
    settings = BreakerSettings(
        name="c", failure_threshold=1, recovery=Recovery.AUTOMATIC, break_seconds=10
    )
    rules = settings.rules("here:1")
    await store.record_failure(rules, "a", "boom", Permit(0))
    clock.advance(4)
    assert (await store.snapshot(rules)).circuit == Circuit(
        name=store.name,
        state=CircuitState.OPEN,
        generation=1,
        failures=1,
        failure_threshold=1,
        window_seconds=30.0,
        opened_at=1000.0,
        changed_at=1000.0,
        reason="1 failures within 30 s (threshold 1); last error: boom",
        retry_after=6.0,
        resume_at=1010.0,
        as_of=1004.0,
    )


async def test_each_transition_adds_one_alert_with_deterministic_id(store: CircuitStore) -> None:
    """An id has circuit, generation and event; the data is complete."""
    await open_it(store)
    await store.approve(RULES, 1, "ann")
    await store.close(RULES, 1, "ann", "fine")
    batch = await store.claim_alerts(RULES, "t", 30, 10)
    assert [(alert.id, alert.type) for alert in batch.alerts] == [
        (f"{store.name}:1:opened", "breakwater.circuit.opened"),
        (f"{store.name}:1:half_opened", "breakwater.circuit.half_opened"),
        (f"{store.name}:1:closed", "breakwater.circuit.closed"),
    ]
    opened = batch.alerts[0]
    assert opened.at == 1000.0
    is_app = store.name == "c"
    of_whom = {"kind": "app"} if is_app else {"kind": "dependency", "dependency": "d"}
    assert opened.data == of_whom | {
        "name": store.name,
        "state": "open",
        "generation": 1,
        "failures": 2,
        "successes": 0,
        "failure_threshold": 2,
        "window_seconds": 30.0,
        "errors": ["boom 1", "boom 0"],
        "reason": "2 failures within 30 s (threshold 2); last error: boom 1",
        "by": "",
        "instance": "here:1",
        "resume_at": None,
        "ends_as": None,
        "recovery": "manual",
    }
    assert batch.alerts[2].data["errors"] == []


async def test_alert_has_newest_errors_of_the_window(
    store: CircuitStore, clock: ManualClock
) -> None:
    """An alert has up to five errors inside the window; a repeat replaces the newest one."""
    rules = BreakerSettings(name="c", failure_threshold=8).rules("here:1")
    for number in range(4):
        await store.record_failure(rules, f"old {number}", "old", Permit(0))
    clock.advance(30)
    for number in range(3):
        clock.advance(1)
        await store.record_failure(rules, f"{number}", f"e{number} ü\n", Permit(0))
    await store.record_failure(rules, "0", "e0 again", Permit(0))
    await store.isolate(rules, "ann", "look at this")
    assert (await store.claim_alerts(rules, "t", 30, 1)).alerts[0].data["errors"] == [
        "e0 again",
        "e1 ü\n",
        "e0 ü\n",
    ]
    await store.close(rules, 1, "ann", "")
    for number in range(8):
        await store.record_failure(rules, f"{number}", f"e{number}", Permit(1))
    alert = (await store.claim_alerts(rules, "t", 30, 10)).alerts[-1]
    assert alert.data["errors"] == ["e7", "e6", "e5", "e4", "e3"]


@pytest.mark.parametrize("text", ["", " ", "a b  c", "a\0b", "\n\r\x1f", "ü мир 😀", '"\\', "%s"])
async def test_any_text_is_stored_unchanged(store: CircuitStore, text: str) -> None:
    """Reasons, names, errors and ids are data and never part of a command."""
    circuit = (await store.isolate(RULES, f"by{text}", text)).circuit
    assert (circuit.by, circuit.reason) == (f"by{text}", text)
    await store.close(RULES, 1, "ann", "fine")
    await store.record_failure(RULES, f"id{text}", text, Permit(1))
    assert (await store.record_failure(RULES, f"id{text}", text, Permit(1))).circuit.failures == 1
    await store.record_failure(RULES, "other", "boom", Permit(1))
    await store.approve(RULES, 2, "ann")
    for probe in ("p", "q", "r"):
        change = await store.record_failure(RULES, f"by {probe}", text, Permit(2, probe))
    last = f"; last error: {text}" if text else ""
    assert change.circuit.reason == f"3 probes failed{last}"
    alerts = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    assert (alerts[0].data["by"], alerts[0].data["reason"]) == (f"by{text}", text)
    assert alerts[2].data["errors"] == ["boom", text]
    assert (await store.history(99))[-1].by == f"by{text}"


async def test_outbox_lease_excludes_others_until_it_expires(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A second deliverer gets the outbox once the first one's lease expires."""
    await open_it(store)
    first = await store.claim_alerts(RULES, "one", 30, 10)
    assert [alert.id for alert in first.alerts] == [f"{store.name}:1:opened"]
    clock.advance(10)
    assert await store.claim_alerts(RULES, "two", 30, 10) == AlertBatch(wait=20)
    again = await store.claim_alerts(RULES, "one", 30, 10)
    assert again.alerts == first.alerts
    clock.advance(29.999999)
    assert (await store.claim_alerts(RULES, "two", 30, 10)).wait == pytest.approx(0.000001)
    clock.advance(0.000001)
    second = await store.claim_alerts(RULES, "two", 30, 10)
    assert second.alerts == first.alerts
    assert (await store.claim_alerts(RULES, "one", 30, 10)).wait == 30


async def test_settling_removes_alert_and_renews_lease(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Settling a published alert removes it and renews the lease."""
    await open_it(store)
    clock.advance(5)
    await store.approve(RULES, 1, "ann")
    status = await store.outbox(RULES)
    assert (status.pending, status.oldest_age) == (2, 5.0)
    batch = await store.claim_alerts(RULES, "one", 30, 10)
    clock.advance(20)
    await store.settle_alert(RULES, "one", batch.alerts[0].entry, 30)
    clock.advance(20)
    assert (await store.claim_alerts(RULES, "two", 30, 10)).wait == 10
    left = await store.claim_alerts(RULES, "one", 30, 10)
    assert [alert.id for alert in left.alerts] == [f"{store.name}:1:half_opened"]
    status = await store.outbox(RULES)
    assert (status.pending, status.oldest_age) == (1, 40.0)


async def test_deliverer_without_lease_still_removes_published_alert(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A published alert is not published again, and the new lease is unchanged."""
    await open_it(store)
    await store.approve(RULES, 1, "ann")
    late = await store.claim_alerts(RULES, "late", 30, 10)
    clock.advance(31)
    await store.claim_alerts(RULES, "new", 30, 10)
    await store.settle_alert(RULES, "late", late.alerts[0].entry, 30)
    clock.advance(29)
    left = await store.claim_alerts(RULES, "third", 30, 10)
    assert left.wait == 1
    await store.release_alerts(RULES, "late")
    assert (await store.claim_alerts(RULES, "third", 30, 10)).wait == 1
    await store.release_alerts(RULES, "new")
    left = await store.claim_alerts(RULES, "third", 30, 10)
    assert [alert.id for alert in left.alerts] == [f"{store.name}:1:half_opened"]


async def test_claim_of_empty_outbox_holds_no_lease(store: CircuitStore) -> None:
    """A deliverer that finds no alert holds no lease."""
    assert (await store.claim_alerts(RULES, "one", 30, 10)).alerts == ()
    await open_it(store)
    batch = await store.claim_alerts(RULES, "two", 30, 10)
    await store.settle_alert(RULES, "two", batch.alerts[0].entry, 30)
    assert (await store.claim_alerts(RULES, "two", 30, 10)).alerts == ()
    await store.approve(RULES, 1, "ann")
    assert len((await store.claim_alerts(RULES, "three", 30, 10)).alerts) == 1


async def test_restored_opening_adds_alert_with_same_id(store: CircuitStore) -> None:
    """The alert may have been lost with the state; the same id marks a repeat."""
    known = Circuit("c", CircuitState.OPEN, 7, opened_at=900.0, changed_at=900.0, reason="why")
    change = await store.restore(RULES, known)
    assert (change.circuit.opened_at, change.circuit.reason) == (900.0, "why")
    alerts = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    assert [(alert.id, alert.at) for alert in alerts] == [(f"{store.name}:7:opened", 900.0)]
    await store.restore(RULES, Circuit("c", CircuitState.CLOSED, 8))
    assert len((await store.claim_alerts(RULES, "t", 30, 10)).alerts) == 1
    assert [(entry.event, entry.reason) for entry in await store.history(5)] == [
        ("closed", "restored: "),
        ("opened", "restored: why"),
    ]


async def test_callback_is_due_once_its_generation_has_passed(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A callback is due after the approval, once per claim, until it is settled."""
    await open_it(store)
    assert await store.register_callback(RULES, Registration(1, "http://a/1"))
    assert await store.register_callback(RULES, Registration(1, "http://a/1"))
    assert await store.register_callback(RULES, Registration(2, "http://a/2"))
    assert await store.claim_callbacks(RULES, 30) == []
    await store.approve(RULES, 1, "ann")
    assert await store.claim_callbacks(RULES, 30) == [Callback(1, "http://a/1")]
    assert await store.claim_callbacks(RULES, 30) == []
    clock.advance(30)
    (due,) = await store.claim_callbacks(RULES, 30)
    await store.postpone_callback(RULES, due, 5)
    assert await store.claim_callbacks(RULES, 30) == []
    clock.advance(5)
    (due,) = await store.claim_callbacks(RULES, 30)
    assert due == Callback(1, "http://a/1", attempts=1)
    await store.settle_callback(RULES, due)
    await store.postpone_callback(RULES, due, 0)
    clock.advance(60)
    assert await store.claim_callbacks(RULES, 30) == []


async def test_callback_of_older_generation_is_due_in_any_state(
    store: CircuitStore,
) -> None:
    """Callbacks of older generations are due; callbacks of later generations are not."""
    await open_it(store)
    await store.close(RULES, 1, "ann", "")
    await open_it(store, generation=1)
    for generation in (1, 2, 3):
        await store.register_callback(RULES, Registration(generation, f"http://a/{generation}"))
    assert [due.generation for due in await store.claim_callbacks(RULES, 30)] == [1]
    await store.close(RULES, 2, "ann", "")
    assert [due.generation for due in await store.claim_callbacks(RULES, 30)] == [2]


async def test_repeated_registration_keeps_claim_and_attempts(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A repeated registration keeps the claim and the number of failed attempts."""
    await open_it(store)
    await store.register_callback(RULES, Registration(1, "http://a/1"))
    await store.approve(RULES, 1, "ann")
    (due,) = await store.claim_callbacks(RULES, 30)
    await store.register_callback(RULES, Registration(1, "http://a/1"))
    assert await store.claim_callbacks(RULES, 30) == []
    await store.postpone_callback(RULES, due, 5)
    await store.register_callback(RULES, Registration(1, "http://a/1"))
    clock.advance(5)
    assert await store.claim_callbacks(RULES, 30) == [Callback(1, "http://a/1", attempts=1)]


async def test_number_of_callbacks_is_bounded(store: CircuitStore) -> None:
    """A callback over the limit is refused; a registered one is accepted again."""
    for number in range(CALLBACK_LIMIT):
        assert await store.register_callback(RULES, Registration(1, f"http://a/{number}"))
    assert not await store.register_callback(RULES, Registration(1, "http://a/more"))
    assert await store.register_callback(RULES, Registration(1, "http://a/0"))


async def test_changes_are_pushed(store: CircuitStore) -> None:
    """The first item is None, for the new subscription; then each new state follows."""
    async with aclosing(store.changes(RULES)) as changes:
        assert await anext(changes) is None
        await open_it(store)
        async with asyncio.timeout(HANG_SECONDS):
            pushed = await anext(changes)
        assert pushed is not None
        assert (pushed.state, pushed.generation, pushed.failures) == (CircuitState.OPEN, 1, 2)
        await store.approve(RULES, 1, "ann")
        async with asyncio.timeout(HANG_SECONDS):
            pushed = await anext(changes)
        assert pushed is not None
        assert (pushed.state, pushed.by) == (CircuitState.HALF_OPEN, "ann")


async def test_refused_admission_has_seconds_until_next_permit(
    store: CircuitStore, clock: ManualClock
) -> None:
    """Without a free permit, the wait lasts until the first lease expires."""
    await open_it(store)
    assert (await store.acquire(RULES, "p")).wait is None
    await store.approve(RULES, 1, "ann")
    await store.acquire(RULES, "p")
    clock.advance(20)
    assert (await store.acquire(RULES, "q")).wait == 100.0


@pytest.mark.long
async def test_failures_of_one_microsecond_all_count(
    store: CircuitStore,
) -> None:
    """The window's members are failure ids, so 10,000 failures of one time all count."""
    rules = BreakerSettings(name="c", failure_threshold=20_000).rules("here:1")
    permit = Permit(0)
    for start in range(0, 10_000, 500):
        await asyncio.gather(
            *(
                store.record_failure(rules, f"f{number}", "boom", permit)
                for number in range(start, start + 500)
            )
        )
    assert (await store.snapshot(rules)).circuit.failures == 10_000


async def test_run_waits_for_its_newest_callback_only(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A registration of the same run replaces its earlier callback; other runs keep theirs."""
    await open_it(store)
    await store.register_callback(RULES, Registration(1, "http://a/1", "one"))
    await store.register_callback(RULES, Registration(1, "http://b/1", "two"))
    clock.advance(1)
    await store.register_callback(RULES, Registration(1, "http://a/2", "one"))
    assert (await store.chain(RULES)).waiting == (
        Waiting(1, "two", WaitsFor.APPROVAL, 1000.0),
        Waiting(1, "one", WaitsFor.APPROVAL, 1001.0),
    )
    await store.approve(RULES, 1, "ann")
    assert [due.url for due in await store.claim_callbacks(RULES, 30)] == [
        "http://a/2",
        "http://b/1",
    ]


async def test_first_registration_is_in_history(store: CircuitStore) -> None:
    """The history has one entry per request for approval, and none without need of approval."""
    await open_it(store)
    await store.register_callback(RULES, Registration(1, "http://a/1", "one"))
    await store.register_callback(RULES, Registration(1, "http://a/2", "one"))
    await store.register_callback(RULES, Registration(1, "http://b/1", "two"))
    await store.approve(RULES, 1, "ann")
    await store.close(RULES, 1, "ann", "")
    await open_it(store, generation=1)
    await store.register_callback(RULES, Registration(1, "http://c/1", "three"))
    await store.register_callback(RULES, Registration(2, "http://d/1", "four", WaitsFor.START))
    found = [(entry.event, entry.generation, entry.by) for entry in await store.history(20)]
    assert [entry for entry in found if entry[0] == "approval_requested"] == [
        ("approval_requested", 1, "workflow run one")
    ]


async def test_run_that_waits_for_a_start_is_called_after_the_start(store: CircuitStore) -> None:
    """An approval does not call a run that waits for a start; a start or a newer opening does."""
    await open_it(store)
    start = Registration(1, "http://a/1", "one", WaitsFor.START)
    await store.register_callback(RULES, start)
    await store.approve(RULES, 1, "ann")
    assert await store.claim_callbacks(RULES, 30) == []
    assert await store.release_starts(RULES) == 1
    assert await store.release_starts(RULES) == 0
    (due,) = await store.claim_callbacks(RULES, 30)
    await store.settle_callback(RULES, due)
    await store.register_callback(RULES, start)
    await store.isolate(RULES, "ann", "")  # no run begins, so no other run starts the app
    assert await store.claim_callbacks(RULES, 30) == []
    await store.close(RULES, 2, "ann", "")
    await open_it(store, generation=2)
    assert await store.claim_callbacks(RULES, 30) == [due]


async def test_step_is_on_record_once(store: CircuitStore) -> None:
    """The latest stop and start are kept, each once in the history, with their own times."""
    stop = Step(StepKind.STOP, 1, accepted=False, detail="HTTP 409", at=950.0, by="workflow")
    start = Step(StepKind.START, 1, accepted=True, detail="HTTP 200", at=960.0, by="Zoë")
    assert await store.note_step(RULES, stop)
    assert not await store.note_step(RULES, stop)
    assert await store.note_step(RULES, start)
    later = replace(stop, accepted=True, detail="HTTP 200", at=970.0)
    assert await store.note_step(RULES, later)
    assert not await store.note_step(RULES, stop)
    status = await store.chain(RULES)
    assert (status.stop, status.start) == (later, start)
    assert [(entry.event, entry.at, entry.reason) for entry in await store.history(9)] == [
        ("stop_accepted", 970.0, "HTTP 200"),
        ("start_accepted", 960.0, "HTTP 200"),
        ("stop_refused", 950.0, "HTTP 409"),
    ]


async def test_alert_is_repeated_while_nobody_asks(store: CircuitStore, clock: ManualClock) -> None:
    """The repeat has the first alert's id and content; the pauses double up to the longest."""
    await open_it(store)
    first = await take_alert(store)
    assert not await store.repeat_opened(RULES, 120, 1800)
    repeated = []
    for second in range(1, 1201):
        clock.advance(1)
        if await store.repeat_opened(RULES, 120, 300):
            repeated.append(second)
            assert not await store.repeat_opened(RULES, 0, 0)  # the alert is not delivered yet
            assert await take_alert(store) == first
    assert repeated == [120, 240, 480, 780, 1080]
    status = await store.chain(RULES)
    assert (status.repeats, status.repeated_at) == (5, 2080.0)
    assert [entry.event for entry in await store.history(2)] == ["alert_repeated"] * 2


async def test_alert_is_not_repeated_once_somebody_asked(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A registration of this generation ends the repeats; a closed or isolated circuit has none."""
    await open_it(store)
    await take_alert(store)
    clock.advance(600)
    await store.register_callback(RULES, Registration(2, "http://a/2", "other"))
    assert await store.repeat_opened(RULES, 120, 1800)
    await take_alert(store)
    clock.advance(6000)
    await store.register_callback(RULES, Registration(1, "http://a/1", "one"))
    assert not await store.repeat_opened(RULES, 120, 1800)
    await store.isolate(RULES, "ann", "")
    await take_alert(store)
    assert not await store.repeat_opened(RULES, 120, 1800)
    assert (await store.chain(RULES)).repeats == 0
    await store.close(RULES, 2, "ann", "")
    await take_alert(store)
    assert not await store.repeat_opened(RULES, 120, 1800)


async def test_run_that_does_not_register_again_waits_no_more(
    store: CircuitStore, clock: ManualClock
) -> None:
    """A run that was cancelled on Azure does not hide that nobody asks."""
    await open_it(store)
    await take_alert(store)
    await store.register_callback(RULES, Registration(1, "http://a/1", "one"))
    await store.register_callback(RULES, Registration(1, "http://b/1"))
    clock.advance(FRESH_SECONDS)
    assert [run.run for run in (await store.chain(RULES)).waiting] == ["", "one"]
    clock.advance(0.001)
    assert [run.run for run in (await store.chain(RULES)).waiting] == [""]
    assert not await store.repeat_opened(RULES, 120, 1800)
    await store.settle_callback(RULES, Callback(1, "http://b/1"))
    assert await store.repeat_opened(RULES, 120, 1800)


async def test_callbacks_of_a_run_are_forgotten(store: CircuitStore) -> None:
    """A run that has started the app waits no more; other runs do."""
    await open_it(store)
    await store.register_callback(RULES, Registration(1, "http://a/1", "one"))
    await store.register_callback(RULES, Registration(1, "http://b/1", "two", WaitsFor.START))
    await store.forget_run(RULES, "two")
    await store.forget_run(RULES, "two")
    assert [run.run for run in (await store.chain(RULES)).waiting] == ["one"]


async def take_alert(store: CircuitStore) -> Alert:
    """Settle all alerts and return the last."""
    alerts = (await store.claim_alerts(RULES, "t", 30, 10)).alerts
    for alert in alerts:
        await store.settle_alert(RULES, "t", alert.entry, 30)
    return alerts[-1]
