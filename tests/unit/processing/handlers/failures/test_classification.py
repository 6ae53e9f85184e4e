"""The meaning of errors: our own, named ones, and what stands behind an error."""

from __future__ import annotations

import errno
import json
import logging
import warnings
from collections.abc import Callable

import pytest

from breaker import Circuit, CircuitOpenError, CircuitState, StoreUnavailableError
from processing.errors import (
    DependencyUnavailableError,
    FaultyHandlerError,
    PoisonEventError,
    StorageUnavailableError,
)
from processing.handlers.failures.classification import Classifier
from processing.handlers.failures.kind import FailureKind, Verdict
from processing.handlers.retry import RetryPolicy
from tests.support.processing.events import event

POISON, EXHAUSTED = FailureKind.POISON, FailureKind.EXHAUSTED
DEPENDENCY, THROTTLED, REFUSED = (
    FailureKind.DEPENDENCY,
    FailureKind.THROTTLED,
    FailureKind.REFUSED,
)
TEXT, JSON = event(1, body=b"\xff"), event(2, body=b"no JSON")
DEEP, LONG = event(3, body=b"[" * 100_000), event(4, body=b"9" * 10_000)


def kind_of(error: Exception) -> FailureKind:
    policy = RetryPolicy(max_attempts=1, initial_seconds=0, max_seconds=0)
    return policy.classify(error)


def raised(function: Callable[[], object]) -> Exception:
    """Return the error that a function raises."""
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError


def named(error: Exception, cause: BaseException | None) -> Exception:
    """Return the error as `raise error from cause` leaves it."""
    error.__cause__ = cause
    return error


def during(error: Exception, context: BaseException) -> Exception:
    """Return the error as it is after it was raised while another error was handled."""
    error.__context__ = context
    return error


def refusal() -> CircuitOpenError:
    return CircuitOpenError(Circuit(name="bank", state=CircuitState.OPEN), retry_after=7.0)


OWN = {
    "circuit open": (refusal(), REFUSED),
    "breaker's store": (StoreUnavailableError("x"), DEPENDENCY),
    "storage": (StorageUnavailableError("x"), DEPENDENCY),
    "memory": (MemoryError(), DEPENDENCY),
    "faulty handler": (FaultyHandlerError("x"), FailureKind.FAULTY),
}
BEHIND = {
    "cause": (named(RuntimeError(), ConnectionRefusedError()), DEPENDENCY),
    "cause of a cause": (named(RuntimeError(), named(LookupError(), TimeoutError())), DEPENDENCY),
    "context": (during(RuntimeError(), ConnectionRefusedError()), DEPENDENCY),
    "from None": (named(during(RuntimeError(), ConnectionRefusedError()), None), EXHAUSTED),
    "refusal": (named(RuntimeError(), refusal()), REFUSED),
    "group as cause": (
        named(RuntimeError(), ExceptionGroup("g", [LookupError(), TimeoutError()])),
        DEPENDENCY,
    ),
    "cause in a group": (
        ExceptionGroup("g", [LookupError(), named(ValueError(), OSError(errno.EMFILE, "x"))]),
        DEPENDENCY,
    ),
    "base exception": (named(RuntimeError(), SystemExit(3)), EXHAUSTED),
    "poison on top": (named(PoisonEventError(), ConnectionError()), POISON),
    "poison as cause": (named(RuntimeError(), PoisonEventError()), POISON),
    "poison as context": (during(RuntimeError(), PoisonEventError()), EXHAUSTED),
    "poison as context's cause": (
        during(RuntimeError(), named(LookupError(), PoisonEventError())),
        EXHAUSTED,
    ),
    "outage while poison was handled": (during(TimeoutError(), PoisonEventError()), DEPENDENCY),
    "poison in a group": (ExceptionGroup("g", [TimeoutError(), PoisonEventError()]), POISON),
}


@pytest.mark.parametrize("case", OWN)
def test_own_refusals_and_stores_are_not_the_events_fault(case: str) -> None:
    """A handler may use a breaker of its own, and our stores."""
    error, kind = OWN[case]
    assert kind_of(error) is kind


@pytest.mark.parametrize("case", BEHIND)
def test_causes_decide_what_the_error_does_not(case: str) -> None:
    """An error that was only being handled shows an outage, but never poisons an event."""
    error, kind = BEHIND[case]
    assert kind_of(error) is kind


def test_raised_chain_is_read_as_python_links_it() -> None:
    """The errors above set the links by hand; here `raise` sets them."""

    def wrapped() -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError as error:
            raise RuntimeError("bank") from error

    def replaced() -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError:
            raise PoisonEventError("bank") from None

    assert kind_of(raised(wrapped)) is DEPENDENCY
    assert kind_of(raised(replaced)) is POISON


def test_cycle_of_causes_ends() -> None:
    """A handler may raise an old error from a new one."""
    first, second = LookupError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    assert kind_of(first) is EXHAUSTED


def test_long_chain_of_causes_ends() -> None:
    """An error that each retry of a client wraps again must not end in a RecursionError."""
    error: Exception = ConnectionError()
    for _ in range(20_000):
        error = named(RuntimeError(), error)
    assert kind_of(error) is EXHAUSTED


@pytest.mark.parametrize("broken", [TEXT.text, TEXT.json, JSON.json, DEEP.json, LONG.json])
def test_decoding_error_of_the_event_is_poison(broken: Callable[[], object]) -> None:
    """A retry reads the same bytes, also when the handler wraps the error."""
    error = raised(broken)
    assert isinstance(error, ValueError)
    assert kind_of(error) is POISON
    assert kind_of(named(RuntimeError("bad order"), error)) is POISON
    assert kind_of(during(RuntimeError("no fallback"), error)) is EXHAUSTED


def test_decoding_errors_keep_their_standard_types() -> None:
    """Handlers catch `json.JSONDecodeError` and `UnicodeDecodeError`."""
    error = raised(JSON.json)
    assert isinstance(error, json.JSONDecodeError)
    assert (error.msg, error.doc, error.pos) == ("Expecting value", "no JSON", 0)
    for read in (TEXT.text, TEXT.json):
        broken = raised(read)
        assert isinstance(broken, UnicodeDecodeError)
        assert (broken.object, broken.start, broken.end) == (b"\xff", 0, 1)
    assert event(1, body="ß".encode()).text() == "ß"


@pytest.mark.parametrize(
    "decode",
    [lambda: json.loads("<html>"), b"\xff".decode, lambda: int("x")],
    ids=["JSON", "UTF-8", "number"],
)
def test_decoding_error_from_elsewhere_is_ordinary(decode: Callable[[], object]) -> None:
    """A gateway's HTML answer says nothing about the event."""
    assert kind_of(raised(decode)) is EXHAUSTED


def test_configured_errors_are_poison_wherever_they_come_from() -> None:
    """A setting names a class where it is defined or where its package offers it."""
    classifier = Classifier(poison_errors=["json.JSONDecodeError", "builtins.LookupError"])
    bad = raised(lambda: json.loads("x"))
    assert classifier.judge(bad).kind is POISON
    assert classifier.judge(KeyError("x")).kind is POISON
    assert classifier.judge(named(RuntimeError(), KeyError("x"))).kind is POISON
    assert classifier.judge(during(RuntimeError(), KeyError("x"))).kind is EXHAUSTED
    assert classifier.judge(ValueError("x")).kind is EXHAUSTED


def test_retry_after_comes_from_the_error_or_its_cause() -> None:
    """A handler that wraps a client's error need not copy the pause."""
    judge = Classifier().judge
    assert judge(DependencyUnavailableError("x", retry_after="30")) == Verdict(DEPENDENCY, 30)
    assert judge(DependencyUnavailableError("x", retry_after=-1)) == Verdict(DEPENDENCY)
    assert judge(refusal()) == Verdict(REFUSED, 7)
    inner = DependencyUnavailableError("x", retry_after=5)
    assert judge(named(DependencyUnavailableError("y"), inner)) == Verdict(DEPENDENCY, 5)
    assert judge(named(DependencyUnavailableError("y", retry_after=9), inner)).retry_after == 9
    both = ExceptionGroup("g", [inner, DependencyUnavailableError("z", retry_after=8)])
    assert judge(both) == Verdict(DEPENDENCY, 8)


def test_unusable_retry_after_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """The event is kept; the log must not grow with the outage."""
    judge = Classifier().judge
    with caplog.at_level(logging.WARNING):
        for value in ([30], [40], "soon"):
            error = DependencyUnavailableError("x", retry_after=value)  # type: ignore[arg-type]
            assert judge(error) == Verdict(DEPENDENCY)
    assert [record.args for record in caplog.records] == [("list",), ("str",)]


class OddError(RuntimeError):
    """An error whose attributes and text cannot be read."""

    def __getattr__(self, name: str) -> object:
        raise LookupError(name)

    def __str__(self) -> str:
        raise LookupError


def test_error_that_cannot_be_read_is_ordinary() -> None:
    """A client's property may raise, or may warn that it is deprecated."""
    assert kind_of(OddError()) is EXHAUSTED
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(named(OddError(), TimeoutError())) is DEPENDENCY
