"""The objects that all lanes of one processor share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from breaker import CircuitBreaker, CircuitState
from processing.batch.gate import Gate
from processing.batch.time_budget import DEFAULT_BUDGET, TimeBudget
from processing.crashes.loops import CrashLoops
from processing.deferring.parts import circuit_key, error_text
from processing.dependencies.circuits import Circuits
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import FailureKind, RetryPolicy, Verdict
from processing.monitoring.reasons import Why
from processing.monitoring.stall import Watch
from processing.monitoring.telemetry import HandleList, Telemetry
from processing.poison.queue import PoisonQueue
from processing.settings import ProcessingSettings


@dataclass(frozen=True, slots=True)
class LaneParts:
    """The objects that a lane uses; built once per processor.

    Attributes:
        handler: the loaded handler; its name appears in poison messages and logs.
        handle: calls the handler and measures the call.
        handle_list: calls a handler that takes lists, and measures the call.
        retry: retries one event.
        retry_list: retries a list; reports nothing, as only a call with one event fails an event.
        gate: admits each event.
        breaker: the circuit; lanes report failures and successes to it.
        poison: stores poison messages durably.
        settings: the settings of processing.
        telemetry: the metrics.
        watch: notes which event of each partition is unfinished, and why.
        instance: this instance's name in poison messages.
        count_poison: whether a poison event counts as a failure in the circuit.
        dependencies: the circuits of the app's dependencies; None: `dependency()` does nothing.
        budget: the time budget of each invocation.
        crashes: the crash loops of the app's processes; None: nobody looks for them.
    """

    handler: LoadedHandler
    handle: Callable[[Event], Awaitable[None]]
    handle_list: HandleList
    retry: RetryPolicy
    retry_list: RetryPolicy
    gate: Gate
    breaker: CircuitBreaker
    poison: PoisonQueue
    settings: ProcessingSettings
    telemetry: Telemetry
    watch: Watch
    instance: str
    count_poison: bool
    dependencies: Circuits | None = None
    budget: TimeBudget = DEFAULT_BUDGET
    crashes: CrashLoops | None = None

    @classmethod
    def assemble(
        cls,
        handler: LoadedHandler,
        *,
        breaker: CircuitBreaker,
        poison: PoisonQueue,
        settings: ProcessingSettings,
        telemetry: Telemetry,
        watch: Watch,
        instance: str,
        count_poison: bool,
        dependencies: Circuits | None = None,
        crashes: CrashLoops | None = None,
        budget: TimeBudget | None = None,
    ) -> LaneParts:
        """Build the gate and the retry policy, and combine them with the given parts."""
        gate = Gate(breaker, telemetry.held, None if crashes is None else crashes.careful)

        def note_failed_attempt(event: Event, verdict: Verdict, error: Exception) -> None:
            watch.waits(event.source, event, Why.FAILING, error)
            if verdict.kind is FailureKind.FAULTY:
                handler.results.note(error)
            if not verdict.kind.counts:
                return
            key, text = circuit_key(event.source, event.key), error_text(error)
            circuit = None
            if verdict.dependency and dependencies is not None:
                circuit = dependencies.find(verdict.dependency)
            if circuit is None or circuit.circuit.state is CircuitState.CLOSED:
                breaker.note_failed_attempt(key, text)
            if circuit is not None:
                circuit.note_failed_attempt(key, text)

        return cls(
            handler=handler,
            handle=telemetry.measured(
                handler.handle, succeeded=breaker.note_success, guard=crashes
            ),
            handle_list=telemetry.measured_list(
                handler.handle_list, succeeded=breaker.note_success, guard=crashes
            ),
            retry=RetryPolicy.from_settings(
                settings, sleep=gate.pause, on_failed_attempt=note_failed_attempt
            ),
            retry_list=RetryPolicy.from_settings(settings, sleep=gate.pause),
            gate=gate,
            breaker=breaker,
            poison=poison,
            settings=settings,
            telemetry=telemetry,
            watch=watch,
            instance=instance,
            count_poison=count_poison,
            dependencies=dependencies,
            crashes=crashes,
            budget=budget or DEFAULT_BUDGET,
        )
