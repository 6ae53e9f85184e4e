"""The verifier, a pure function that compares sent events with the evidence of a run.

- *handled*: the event is in the ledger.
- *lost*: the event was sent, but is neither handled, poisoned nor parked, and the hub has it.
- *duplicate*: a ledger entry with the key, counter, partition and sequence number of an earlier
  entry.
- *producer duplicate*: a ledger entry with the key and counter of an earlier entry, but a different
  sequence number. The producer sent the event twice, after a lost acknowledgement, so that the
  system is not at fault. The same rules apply to the poison queue.
- *start*: an event's first downstream call. An event whose handler hung has started before that
  call, without a trace, and is left out of the circuit's check.
- *order violation*: the first entry of an event stands behind an entry of the same key with a
  higher counter. Later entries of the event are duplicates only.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.verify.circuits import Circuits
from loadtest.verify.evidence import Evidence, LedgerEntry
from loadtest.verify.hub_check import HubCheck
from loadtest.verify.list_check import ListCheck
from loadtest.verify.log_check import LogCheck
from loadtest.verify.others import Others
from loadtest.verify.poison_check import identify, problems
from loadtest.verify.redis_check import RedisCheck
from loadtest.verify.verdict import Diff, Verdict


class _Verification:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.diff = Diff()
        self.circuits = Circuits(evidence, self.diff)
        self.others = Others(evidence, self.diff)
        self.log = LogCheck(evidence, self.diff)
        self.hub = HubCheck(evidence.hub, self.diff)
        self.redis = RedisCheck(evidence)
        self.lists = ListCheck(evidence)
        self.faults = evidence.workload.faults
        self.refused_first: dict[tuple[str, int], tuple[int, str, int]] = {}
        for call in evidence.refused:
            self.circuits.refused(call)
            self.note_call(call.key, call.counter, call.at_us)
            event = (call.partition, call.sequence)
            known = self.refused_first.get(event)
            if known is None or call.at_us < known[0]:
                self.refused_first[event] = (call.at_us, call.key, call.counter)
        self.handled: dict[str, set[int]] = {key: set() for key in evidence.sent}
        self.poisoned: dict[tuple[str, int], set[tuple[object, object]]] = {}

    def note_start(self, key: str, counter: int, at_us: int) -> None:
        """Record a start in the circuit's check, unless the handler hung and hid the start."""
        if (key, counter) not in self.evidence.workload.hanging:
            self.circuits.started(key, counter, at_us)

    def note_call(self, key: str, counter: int, at_us: int) -> None:
        """Record a call in the circuit's check, unless the handler had hung before the call."""
        if (key, counter) not in self.evidence.workload.hanging:
            self.circuits.called(key, counter, at_us)

    def read_poison(self) -> None:
        self.log.poisoned(self.evidence.poison)
        for message in self.evidence.poison:
            event = identify(message)
            if event is None:
                self.diff.add("malformed poison", f"{message.get('id')} has no key and counter")
                continue
            key, counter = event
            fault = self.faults.get(key, {}).get(counter)
            for problem in problems(message, key, counter, fault, self.evidence.max_attempts):
                self.diff.add("malformed poison", f"{key} #{counter}: {problem}")
            place = (message.get("partition"), message.get("sequence_number"))
            if (places := self.poisoned.get(event)) is not None:
                finding = "poisoned twice" if place in places else "producer duplicate"
                sender = f"by {message.get('instance')} at {message.get('last_attempt_time')}"
                self.diff.add(finding, f"{key} #{counter} {sender}")
            elif not 1 <= counter <= self._attempted(key):
                self.diff.add("unexpected poison", f"{key} #{counter} was never sent")
            elif fault is None:
                error = message.get("error")
                self.diff.add("unexpected poison", f"{key} #{counter} was not faulty: {error}")
            self.poisoned.setdefault(event, set()).add(place)

    def _attempted(self, key: str) -> int:
        return self.evidence.unconfirmed.get(key, self.evidence.sent.get(key, 0))

    def read_ledger(self, key: str, entries: Sequence[LedgerEntry]) -> None:
        if key not in self.handled:
            self.diff.add("unexpected handled", f"key {key!r} with {len(entries)} events")
            return
        found: dict[int, list[tuple[str, int]]] = {}
        highest = 0
        faults = self.faults.get(key, {})
        attempted = self._attempted(key)
        for position, entry in enumerate(entries, start=1):
            counter, place = entry.counter, (entry.partition, entry.sequence)
            if (places := found.get(counter)) is not None:
                finding = "duplicate" if place in places else "producer duplicate"
                self.diff.add(finding, f"{key} #{counter} again at position {position}")
                places.append(place)
                continue
            found[counter] = [place]
            if counter < highest:
                self.diff.add(
                    "order violation",
                    f"{key} #{counter} at position {position} came after #{highest}",
                )
            highest = max(highest, counter)
            if not 1 <= counter <= attempted:
                self.diff.add("unexpected handled", f"{key} #{counter} was never sent")
            elif counter in faults:
                self.diff.add("unexpected handled", f"{key} #{counter} was faulty")
            elif (key, counter) in self.evidence.workload.waiting:
                self.diff.add("unexpected handled", f"{key} #{counter} is behind a poison event")
            elif (key, counter) in self.poisoned:
                self.diff.add("unexpected handled", f"{key} #{counter} is in the poison queue too")
            refused = self.refused_first.pop(place, None)
            started_us = (
                entry.appended_us if refused is None else min(refused[0], entry.appended_us)
            )
            self.note_start(key, counter, started_us)
            self.note_call(key, counter, entry.appended_us)
            self.circuits.handled(key, counter, entry.appended_us)
            self.others.handled(key, entry)
            self.log.handled(key, entry)
            self.hub.handled(key, entry)
            self.redis.handled(entry)
        self.handled[key] = set(found)

    def find_missing(self) -> None:
        for key, count in self.evidence.sent.items():
            handled = self.handled[key]
            faults = self.faults.get(key, {})
            for counter in range(1, count + 1):
                event = (key, counter)
                poisoned, parked = event in self.poisoned, event in self.evidence.parked
                if counter in faults and not poisoned:
                    self.diff.add("missing poison", f"{key} #{counter} is not in the poison queue")
                if counter not in handled and not poisoned and not parked:
                    self.hub.missing(key, counter)
        self.hub.close()

    def verdict(self) -> Verdict:
        for at_us, key, counter in self.refused_first.values():
            self.note_start(key, counter, at_us)
        sent = self.evidence.sent
        count = self.diff.count
        missing = count("lost") > 0
        circuit = self.circuits.app(missing=missing)
        dependencies = self.circuits.dependencies(missing=missing)
        others = self.others.verdict()
        deferred, still = self.evidence.deferred, self.evidence.still_deferred
        return Verdict(
            sent=sum(sent.values()),
            handled=sum(
                sum(1 <= counter <= sent[key] for counter in counters)
                for key, counters in self.handled.items()
            ),
            poisoned=sum(1 <= counter <= sent.get(key, 0) for key, counter in self.poisoned),
            parked=len(self.evidence.parked),
            lost=count("lost"),
            duplicates=count("duplicate"),
            producer_duplicates=count("producer duplicate"),
            order_violations=count("order violation"),
            missing_poison=count("missing poison"),
            unexpected_handled=count("unexpected handled"),
            unexpected_poison=count("unexpected poison"),
            poison_duplicates=count("poisoned twice"),
            malformed_poison=count("malformed poison"),
            deferred=len(deferred | still),
            came_back=len(deferred - still),
            circuit=circuit,
            dependencies=dependencies,
            others=others,
            deaths=self.evidence.deaths,
            expired=self.hub.expired,
            lists=self.lists.calls,
            longest_list=self.lists.longest,
            most_suppressed=self.evidence.expectation.most_suppressed,
            broken=(
                *self._broken(),
                *self.circuits.broken(circuit, dependencies, self.evidence.expectation),
                *self.others.broken(others),
                *self.log.broken(),
                *self.hub.broken(),
                *self.redis.broken(),
                *self.lists.broken(),
            ),
            diff=self.diff.lines(),
        )

    def _broken(self) -> list[str]:
        count = self.diff.count
        sent, wanted = sum(self.evidence.sent.values()), self.evidence.workload.events
        broken = [] if sent == wanted else [f"{sent} events were sent, expected {wanted}"]
        texts = {
            "lost": "events were lost",
            "duplicate": "events were handled twice",
            "order violation": "events were handled out of order",
            "missing poison": "faulty events are missing from the poison queue",
            "unexpected handled": "unexpected events or keys are in the ledger",
            "unexpected poison": "unexpected events are in the poison queue",
            "malformed poison": "fields of poison messages are missing or wrong",
        }
        expectation = self.evidence.expectation
        if self.evidence.kills == 0 and not expectation.poison_repeats:
            texts["poisoned twice"] = "events are in the poison queue twice"
        broken += [f"{count(finding)} {text}" for finding, text in texts.items() if count(finding)]
        if still := self.evidence.still_deferred:
            broken.append(f"{len(still)} keys are still deferred: {', '.join(sorted(still)[:5])}")
        if len(self.evidence.deferred) < expectation.least_deferred:
            broken.append("no key was deferred, so the run has not tested deferring")
        deaths = self.evidence.deaths
        if expectation.most_deaths is not None and not 1 <= deaths <= expectation.most_deaths:
            broken.append(
                f"the deadly event ended {deaths} processes, expected 1 to "
                f"{expectation.most_deaths}"
            )
        suppressed, most = self.evidence.suppressed, expectation.most_suppressed
        if most is not None and suppressed > most:
            broken.append(
                f"{suppressed} handled events reached the ledger again, expected at most {most}, "
                "which is the number in flight when processes were killed or connections cut"
            )
        return broken


def verify(evidence: Evidence) -> Verdict:
    """Return the verdict on the evidence of a run; each ledger is read once."""
    verification = _Verification(evidence)
    verification.read_poison()
    for key, entries in evidence.ledgers:
        verification.read_ledger(key, entries)
    verification.find_missing()
    return verification.verdict()
