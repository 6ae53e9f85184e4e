"""The objects that all lanes of one processor share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from breaker import CircuitBreaker
from processing.batch.gate import Gate
from processing.event import Event
from processing.handlers.loading import LoadedHandler
from processing.handlers.retry import RetryPolicy
from processing.monitoring.telemetry import Telemetry
from processing.poison.queue import PoisonQueue
from processing.settings import ProcessingSettings


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What a lane needs to bring an event to its end; built once per processor.

    Attributes:
        handler: the loaded handler; names it in poison messages and logs.
        handle: the handler's call, measured.
        retry: attempts of one event.
        gate: admits each event.
        breaker: the circuit that failures and successes are reported to.
        poison: takes poison messages durably.
        settings: how events are processed.
        telemetry: metrics and log fields.
        instance: this instance's name in poison messages.
        count_poison: whether a poison event counts as a failure of the circuit.
    """

    handler: LoadedHandler
    handle: Callable[[Event], Awaitable[None]]
    retry: RetryPolicy
    gate: Gate
    breaker: CircuitBreaker
    poison: PoisonQueue
    settings: ProcessingSettings
    telemetry: Telemetry
    instance: str
    count_poison: bool

    @classmethod
    def assemble(
        cls,
        handler: LoadedHandler,
        *,
        breaker: CircuitBreaker,
        poison: PoisonQueue,
        settings: ProcessingSettings,
        telemetry: Telemetry,
        instance: str,
        count_poison: bool,
    ) -> LaneParts:
        """Build the gate and the retry policy around what the composition root made."""
        gate = Gate(breaker, telemetry.held)
        return cls(
            handler=handler,
            handle=telemetry.measured(handler.handle),
            retry=RetryPolicy.from_settings(settings, sleep=gate.pause),
            gate=gate,
            breaker=breaker,
            poison=poison,
            settings=settings,
            telemetry=telemetry,
            instance=instance,
            count_poison=count_poison,
        )
