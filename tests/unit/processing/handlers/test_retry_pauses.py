"""Fast retries of failed attempts, and errors that say how long to wait instead."""

from __future__ import annotations

import pytest

from breaker import Circuit, CircuitOpenError, CircuitState
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    OwnershipLostError,
    StorageUnavailableError,
)
from processing.event import Event
from processing.handlers.failures.kind import FailureKind
from processing.handlers.retry import RetryPolicy
from processing.settings import ProcessingSettings
from tests.support.processing.events import event


class Policy(RetryPolicy):
    """A policy with pauses of 1, 2 and 3 seconds and more, which are recorded."""

    def __init__(self, max_attempts: int = 4) -> None:
        self.pauses: list[float] = []

        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)

        super().__init__(max_attempts=max_attempts, initial_seconds=1, max_seconds=3, sleep=sleep)


class Failing:
    """A handler that raises the given errors in turn."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self, _event: Event) -> None:
        raise self.errors.pop(0)


def down(retry_after: float) -> Exception:
    return DependencyUnavailableError("bank", retry_after=retry_after)


async def test_pause_that_the_error_names_replaces_the_fast_retries() -> None:
    """Retries before that time would be refused, and would burden the dependency."""
    policy = Policy()
    failure = await policy.run(Failing(down(30)), event(1))
    assert failure is not None
    assert (failure.kind, failure.retry_after) == (FailureKind.DEPENDENCY, 30)
    assert (failure.attempts, policy.pauses) == (1, [])


async def test_short_pause_that_the_error_names_comes_before_the_next_attempt() -> None:
    """A server that is away for two seconds must not be a recorded failure."""
    policy = Policy()
    failure = await policy.run(Failing(down(2.9), down(2.5), *[down(0.5)] * 2), event(1))
    assert failure is not None
    assert (failure.attempts, policy.pauses[0], policy.pauses[1] >= 2.5) == (4, 2.9, True)


async def test_pause_shorter_than_the_backoff_changes_nothing() -> None:
    """The last attempt says how long the kept event waits."""
    policy = Policy()
    failure = await policy.run(Failing(*[down(0.5)] * 3, down(0.7)), event(1))
    assert failure is not None
    assert (failure.attempts, len(policy.pauses), failure.retry_after) == (4, 3, 0.7)


async def test_later_attempt_may_name_the_pause() -> None:
    """Each attempt's own error decides about the next attempt."""
    policy = Policy()
    failure = await policy.run(Failing(RuntimeError(), down(0.5), down(60)), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts, failure.retry_after) == (FailureKind.DEPENDENCY, 3, 60)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CircuitOpenError(Circuit(name="bank", state=CircuitState.OPEN)), FailureKind.REFUSED),
        (FaultyHandlerError("a coroutine was not awaited"), FailureKind.FAULTY),
    ],
)
async def test_refusal_and_faulty_handler_are_not_retried(
    error: Exception, kind: FailureKind
) -> None:
    """An open circuit and wrong code do not change within a second."""
    policy = Policy()
    failure = await policy.run(Failing(error), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts, policy.pauses) == (kind, 1, [])


async def test_errors_of_the_setting_are_poison_at_the_first_attempt() -> None:
    """A retry of a handler that refuses the event's data is in vain."""
    settings = ProcessingSettings(poison_errors=("builtins.LookupError",))
    failure = await RetryPolicy.from_settings(settings).run(Failing(KeyError("amount")), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.POISON, 1)


async def test_attempt_is_not_classified_by_an_earlier_attempt() -> None:
    """Otherwise one lost connection would keep an event whose own data are wrong."""
    errors = ConnectionResetError(), *[LookupError()] * 3
    failure = await Policy().run(Failing(*errors), event(1))
    assert failure is not None
    assert (failure.kind, failure.attempts) == (FailureKind.EXHAUSTED, 4)
    assert failure.error.__context__ is None


@pytest.mark.parametrize("error", [OwnershipLostError("taken"), StorageUnavailableError("away")])
async def test_error_of_the_invocation_in_a_pause_is_no_failure_of_the_event(
    error: Exception,
) -> None:
    """An invocation that another lane halts ends the pause: the event keeps its attempts."""

    async def halted(_seconds: float) -> None:
        raise error

    retry = RetryPolicy(max_attempts=4, initial_seconds=1, max_seconds=30)
    with pytest.raises(type(error)) as raised:
        await retry.run(Failing(LookupError("once")), event(1), pause=halted)
    assert raised.value is error
