"""The pipelines that app settings declare."""

from __future__ import annotations

from typing import Any

import pytest

from breaker import BreakerSettings
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.pipelines import DEFAULT, NAME, Pipeline, pipeline_of, pipelines_of
from processing.settings import ConnectionSettings, ProcessingSettings

PLAIN = {
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "$Default",
    "EventHubConnection": "Endpoint=sb://ns.example.net/;SharedAccessKeyName=a;SharedAccessKey=YQ==",
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "REDIS_URL": "redis://127.0.0.1",
    "BREAKER_FAILURE_THRESHOLD": "7",
}
TWO = PLAIN | {
    "PIPELINES": "orders, audit",
    "PIPELINE_AUDIT_EVENT_HUB_NAME": "audit-events",
    "PIPELINE_AUDIT_BREAKER_FAILURE_THRESHOLD": "3",
}


def _two(**further: str) -> tuple[Pipeline, ...]:
    return pipelines_of(TWO | further)


def test_app_without_pipelines_has_one_with_its_own_settings() -> None:
    (only,) = pipelines_of(PLAIN)
    assert (only.name, only.declared, only.settings) == (DEFAULT, False, PLAIN)
    assert only.variable("EVENT_HUB_NAME") == "EVENT_HUB_NAME"


def test_pipeline_has_its_own_settings_and_else_the_plain_ones() -> None:
    orders, audit = _two()
    assert BreakerSettings.from_mapping(orders.settings).failure_threshold == 7
    assert BreakerSettings.from_mapping(audit.settings).failure_threshold == 3
    assert orders.variable("EVENT_HUB_NAME") == "EVENT_HUB_NAME"
    assert audit.variable("EVENT_HUB_NAME") == "PIPELINE_AUDIT_EVENT_HUB_NAME"
    assert ProcessingSettings.from_mapping(audit.settings) == ProcessingSettings()


def test_pipelines_share_neither_identity_circuit_nor_queue() -> None:
    orders, audit = (ConnectionSettings.from_mapping(each.settings) for each in _two())
    assert str(orders.identity) == "ns.example.net/events/$default/orders"
    assert str(audit.identity) == "ns.example.net/audit-events/$default/audit"
    assert [orders.poison_queue, audit.poison_queue] == ["poison-orders", "poison-audit"]
    names = [BreakerSettings.from_mapping(each.settings).name for each in _two()]
    assert names == ["breakwater-orders", "breakwater-audit"]


def test_declared_default_keeps_the_data_of_an_app_with_one_pipeline() -> None:
    default, audit = _two(PIPELINES="default,audit")
    before = ConnectionSettings.from_mapping(PLAIN)
    after = ConnectionSettings.from_mapping(default.settings)
    assert (after.identity, after.poison_queue) == (before.identity, before.poison_queue)
    assert BreakerSettings.from_mapping(default.settings).name == BreakerSettings().name
    assert audit.name == "audit"


@pytest.mark.parametrize(
    ("further", "stops"),
    [
        ({}, [False, False]),
        ({"BREAKER_STOPS_APP": "true"}, [False, False]),
        ({"Breaker_Stops_App": "true"}, [False, False]),
        ({"PIPELINE_AUDIT_STOPS_APP": "true"}, [False, True]),
        ({"PIPELINE_AUDIT_BREAKER_STOPS_APP": "true"}, [False, True]),
        ({"PIPELINES": "audit", "BREAKER_STOPS_APP": "false"}, [False]),
        ({"PIPELINES": "audit"}, [True]),
        ({"PIPELINES": "audit", "PIPELINE_AUDIT_STOPS_APP": "false"}, [False]),
    ],
)
def test_only_one_pipeline_stops_the_app_unless_a_setting_says_so(
    further: dict[str, str], stops: list[bool]
) -> None:
    found = [BreakerSettings.from_mapping(each.settings).stops_app for each in _two(**further)]
    assert found == stops


def test_settings_of_a_pipeline_are_those_of_one_pipeline() -> None:
    _, audit = _two()
    (again,) = pipelines_of(audit.settings)
    assert (again.name, again.settings) == ("audit", audit.settings)
    assert audit.settings[NAME] == "audit"


@pytest.mark.parametrize(
    "read",
    [
        BreakerSettings.from_mapping,
        ProcessingSettings.from_mapping,
        ConnectionSettings.from_mapping,
    ],
)
def test_settings_of_an_app_with_pipelines_are_not_read_as_those_of_one(read: Any) -> None:
    with pytest.raises(ConfigurationError, match="has the pipelines orders, audit; choose one"):
        read(TWO)


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"PIPELINES": "Orders"}, "PIPELINES names 'Orders': .*lower-case letters and digits"),
        ({"PIPELINES": "a_b"}, "PIPELINES names 'a_b'"),
        ({"PIPELINES": "audit,audit"}, "names audit twice"),
        ({"PIPELINES": ",".join(f"p{n}" for n in range(21))}, "has 21 names: it takes at most 20"),
        ({"PIPELINE_AUDIT_REDIS_URL": "x"}, "PIPELINE_AUDIT_REDIS_URL is no setting of a pipeline"),
        ({"PIPELINE_AUDIT_EVENT_HUB_NAME": "events"}, "orders and audit read the hub events with"),
        ({"PIPELINE_AUDIT_BREAKER_NAME": "breakwater-orders"}, "have one circuit"),
    ],
)
def test_unusable_pipelines_are_refused_by_name(further: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _two(**further)


def test_settings_of_undeclared_pipelines_are_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert [each.name for each in _two(PIPELINE_BUILD_ID="7")] == ["orders", "audit"]
    assert "PIPELINE_BUILD_ID is ignored" in caplog.text


def test_names_of_settings_are_not_case_sensitive() -> None:
    _, audit = _two(pipeline_audit_poison_queue="bad-orders")
    assert ConnectionSettings.from_mapping(audit.settings).poison_queue == "bad-orders"
    assert audit.variable("POISON_QUEUE") == "pipeline_audit_poison_queue"


def test_pipeline_is_chosen_by_name() -> None:
    assert pipeline_of(TWO, "audit").name == "audit"
    assert pipeline_of(PLAIN).name == pipeline_of(PLAIN, "default").name == DEFAULT
    with pytest.raises(ConfigurationError, match="several pipelines, choose one: orders, audit"):
        pipeline_of(TWO)
    with pytest.raises(ConfigurationError, match=r"no pipeline 'audits'.*did you mean audit"):
        pipeline_of(TWO, "audits")
