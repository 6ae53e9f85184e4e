"""`breakwater stop`, `start` and `health` for an app with two pipelines."""

from __future__ import annotations

import json

from breaker import BreakerSettings, CircuitBreaker, Permit, RedisCircuitStore
from breaker.chain import WaitsFor
from local.services.ports import free_port
from tests.integration.processing.test_app_command import Shell, shell
from tests.integration.processing.test_health_command import Operator, operator
from tests.support.patience import STORE_SECONDS

__all__ = ["operator", "shell"]

TWO = {"PIPELINES": "orders,audit", "PIPELINE_AUDIT_EVENT_HUB_CONSUMER_GROUP": "audit"}


def circuit(redis_url: str, name: str) -> CircuitBreaker:
    """Return the circuit of a pipeline, as an instance of the app opens it."""
    store = RedisCircuitStore(redis_url, f"c-{name}", timeout_seconds=STORE_SECONDS)
    rules = BreakerSettings(name=f"c-{name}", failure_threshold=1)
    return CircuitBreaker(store, rules, instance=f"app:{name}")


async def events(redis_url: str, name: str) -> list[tuple[str, str]]:
    """Return the history of a pipeline's circuit: each event, and its operator."""
    async with circuit(redis_url, name) as breaker:
        return [(each.event, each.by) for each in await breaker.history()]


async def test_stop_and_start_are_on_record_in_each_circuit(shell: Shell, redis_url: str) -> None:
    """One call stops the app, and the history of each pipeline says by whom."""
    code, out, err = await shell.run("stop", "--by", "ada", **TWO)
    assert (code, err) == (0, "")
    assert out.startswith("Stop asked, accepted (HTTP 200).\n")
    code, out, err = await shell.run("start", "--by", "ada", "--json", **TWO)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["recorded"], found["released"]) == (True, 0)
    assert found["circuit_states"] == {"orders": "closed", "audit": "closed"}
    asked = [operation for _, operation, _, _ in shell.arm.calls if operation]
    assert asked == ["stop", "start"]
    for name in ("orders", "audit"):
        entries = [("start_accepted", "ada"), ("stop_accepted", "ada")]
        assert await events(redis_url, name) == entries
    code, out, _ = await shell.run("status", "--json", **TWO)
    assert [json.loads(line)["pipeline"] for line in out.splitlines()] == ["orders", "audit"]


async def test_stop_takes_no_pipeline(shell: Shell) -> None:
    code, _, err = await shell.run("stop", "--pipeline", "orders", **TWO)
    assert code == 2  # the whole app stops, so there is nothing to choose
    assert "--pipeline" in err
    assert shell.arm.state == "Running"


async def test_start_names_the_pipelines_that_hold(shell: Shell, redis_url: str) -> None:
    """A run of the workflow that waits for the start is called back, whichever circuit has it."""
    async with circuit(redis_url, "audit") as breaker:
        await breaker.record_failure("a", "boom", Permit(0))
        callback = f"http://127.0.0.1:{free_port()}/callback"
        await breaker.approvals.register(1, callback, run="0859", waits_for=WaitsFor.START)
    code, out, err = await shell.run("start", "--by", "ada", **TWO)
    assert (code, err) == (0, "")
    assert "The circuit of pipeline audit is open (generation 1): the pipeline holds" in out
    assert "pipeline orders" not in out
    assert "Workflow runs that waited for a start and are called back: 1" in out


async def test_health_shows_each_pipeline(operator: Operator, redis_url: str) -> None:
    """An open circuit of one pipeline is a problem of that one; the other is healthy."""
    async with circuit(redis_url, "orders"), circuit(redis_url, "audit") as audit:
        await audit.record_failure("a", "boom", Permit(0))
        code, out, err = await operator.health("--json", **TWO)
        assert (code, err) == (3, "")
        found = json.loads(out)
        orders = found["pipelines"]["orders"]
        assert (found["is_healthy"], orders["is_healthy"], orders["problems"]) == (False, True, [])
        (problem,) = found["problems"]
        assert problem.startswith("pipeline audit: the circuit is open: 1 failures within")
        code, out, _ = await operator.health(**TWO)
        assert code == 3
        first, second = out.split("\n\nPipeline audit\n")
        assert first.startswith("Pipeline orders\nhealth     healthy (ok)\n")
        assert second.startswith("health     not healthy (")
        code, out, _ = await operator.health("--pipeline", "orders", "--json", **TWO)
        assert (code, json.loads(out)["status"]) == (0, "ok")


async def test_health_of_an_unknown_pipeline_is_refused_and_the_other_shown(
    operator: Operator, redis_url: str
) -> None:
    async with circuit(redis_url, "audit"):
        code, out, err = await operator.health("--json", **TWO)
    assert code == 1
    assert err.startswith("breakwater: pipeline orders: no instance")
    found = json.loads(out)["pipelines"]
    assert (found["orders"]["status"], found["audit"]["status"]) == ("unknown", "ok")
