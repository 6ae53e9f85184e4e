"""The test kit runs one pipeline of an app, with its settings, circuit and handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pytest

from breaker.configuration.pipelines import NAME, PipelineError
from breakwater.testing import AsyncTestApp, TestApp, event, run, run_async
from breakwater_pytest import breakwater_app as _fixture
from processing.event import Event

breakwater_app = _fixture

TWO = {
    "PIPELINES": ["orders", "audit"],
    "PROCESSING_MAX_ATTEMPTS": 1,
    "BREAKER_FAILURE_THRESHOLD": 9,
    "PIPELINE_AUDIT_PROCESSING_MAX_ATTEMPTS": 3,
    "PIPELINE_AUDIT_BREAKER_FAILURE_THRESHOLD": 1,
    "PIPELINE_AUDIT_STOPS_APP": True,
}


def fail(_event: Event) -> None:
    raise ValueError("broken")


@pytest.mark.parametrize(
    ("pipeline", "attempts", "state"), [("orders", 1, "closed"), ("audit", 3, "open")]
)
def test_pipeline_has_its_own_settings_and_circuit(
    pipeline: str, attempts: int, state: str
) -> None:
    outcome = run(fail, [one := event()], settings=TWO, pipeline=pipeline)
    assert (outcome.of(one).attempts, outcome.circuit) == (attempts, state)


def test_handler_gets_the_settings_of_the_pipeline() -> None:
    seen: dict[str, str] = {}

    class Handler:
        @classmethod
        def from_settings(cls, settings: Mapping[str, str]) -> Self:
            seen.update(settings)
            return cls()

        def __call__(self, event: Event) -> None:
            pass

    run(Handler, [event()], settings=TWO, pipeline="audit").check()
    assert (seen[NAME], seen["PROCESSING_MAX_ATTEMPTS"]) == ("audit", "3")
    assert "PIPELINES" not in seen


async def test_pipeline_must_be_chosen_among_several() -> None:
    with pytest.raises(PipelineError, match="choose one: orders, audit"):
        AsyncTestApp(fail, settings=TWO)
    with pytest.raises(PipelineError, match="no pipeline 'order'; it has orders, audit"):
        TestApp(fail, settings=TWO, pipeline="order")
    with pytest.raises(PipelineError, match="no pipeline 'orders'; it has default"):
        await run_async(fail, [], pipeline="orders")


def test_fixture_takes_a_pipeline(breakwater_app: Any) -> None:
    assert breakwater_app(fail, settings=TWO, pipeline="audit").run([event()]).circuit == "open"


def test_only_declared_pipeline_needs_no_name() -> None:
    assert run(lambda event: None, [event()], settings={"PIPELINES": "orders"}).handled
