"""The pipelines that app settings declare."""

from __future__ import annotations

from typing import Any

import pytest

from breaker import BreakerSettings, DependencySettings
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.pipelines import (
    DEFAULT,
    NAME,
    Pipeline,
    PipelineError,
    check_has_handler,
    pipeline_of,
    pipelines_of,
)
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
        ({"PIPELINE_AUDIT_STOPS_APP": ""}, [False, False]),
        ({"PIPELINE_AUDIT_STOPS_APP": "true", "PIPELINE_ORDERS_STOPS_APP": ""}, [False, True]),
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
    other = {name: value for name, value in TWO.items() if name != "PIPELINES"}
    with pytest.raises(ConfigurationError, match="has the pipelines a, b; choose one"):
        read(other | {"Pipelines": "a,b"})


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


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("EVENT_HANDLERS", "EVENT_HANDLER"),
        ("HANDLER", "EVENT_HANDLER"),
        ("EVENT_HUB_NAM", "EVENT_HUB_NAME"),
        ("EVENT_HUB_CONSUMERGROUP", "EVENT_HUB_CONSUMER_GROUP"),
        ("POISON_QUE", "POISON_QUEUE"),
        ("POISON_QUEUES", "POISON_QUEUE"),
        ("POISON_ORDERING", "PROCESSING_POISON_ORDERING"),
        ("PROCESING_MAX_LANES", "PROCESSING_MAX_LANES"),
        ("FAILURE_THRESHOLD", "BREAKER_FAILURE_THRESHOLD"),
        ("STOP_APP", "STOPS_APP"),
    ],
)
def test_misspelt_setting_of_a_pipeline_is_refused_with_the_nearest_name(
    name: str, near: str
) -> None:
    """Otherwise the pipeline would run with the handler or the hub of another one."""
    message = rf"PIPELINE_AUDIT_{name} is no setting of .*; did you mean PIPELINE_AUDIT_{near}\?$"
    with pytest.raises(PipelineError, match=message):
        _two(**{f"PIPELINE_AUDIT_{name}": "x"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PIPELINE_AUDTI_EVENT_HANDLER", "; did you mean PIPELINE_AUDIT_EVENT_HANDLER?"),
        ("pipeline_audti_event_handler", "; did you mean PIPELINE_AUDIT_EVENT_HANDLER?"),
        ("PIPELINE_AUDTI_EVENT_HANDLERS", "; did you mean PIPELINE_AUDIT_EVENT_HANDLER?"),
        ("PIPELINES_AUDIT_POISON_QUEUE", "; did you mean PIPELINE_AUDIT_POISON_QUEUE?"),
        ("PIPELINE_ORDER_BREAKER_RECOVERY", "; did you mean PIPELINE_ORDERS_BREAKER_RECOVERY?"),
        ("PIPELINE_BILLS_STOPS_APP", ""),
        ("PIPELINE_UNIT_TEST_EVENT_HUB_NAME", ""),
        ("PIPELINE_BILLS_POISON_QUEUES", ""),
    ],
)
def test_setting_of_no_declared_pipeline_is_refused(name: str, hint: str) -> None:
    with pytest.raises(PipelineError) as refused:
        _two(**{name: "x"})
    declared = "PIPELINES declares orders, audit"
    assert str(refused.value) == f"{name} is a setting of no pipeline: {declared}{hint}"


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"PIPELINE": "orders,audit"}, r"unknown setting PIPELINE: did you mean PIPELINES\?"),
        ({"PIPLINES": "orders,audit"}, r"unknown setting PIPLINES: did you mean PIPELINES\?"),
        (
            {"PIPELINE_AUDIT_EVENT_HANDLER": "a:b"},
            "PIPELINE_AUDIT_EVENT_HANDLER is set, but PIPELINES declares no pipeline: .* remove",
        ),
        ({"PIPELINES": "", "PIPELINE_AUDIT_STOPS_APP": "true"}, "PIPELINES declares no pipeline"),
        ({"PIPELINES_AUDIT_POISON_QUEUE": "x"}, "PIPELINES declares no pipeline"),
        ({"PIPELINES": ","}, "PIPELINES is ',' and names no pipeline: it takes names between"),
        ({"PIPELINES": '" , "'}, "PIPELINES is ',' and names no pipeline"),
    ],
)
def test_settings_of_pipelines_without_a_declaration_are_refused(
    further: dict[str, str], message: str
) -> None:
    """Otherwise the app would run as one pipeline, and never read the hubs of the others."""
    with pytest.raises(PipelineError, match=message):
        pipelines_of(PLAIN | further)


FOREIGN = {
    "PIPELINE_WORKSPACE": "/azp/1",
    "PIPELINE_BUILD_ID": "7",
    "PIPELINE_SERVICE_HOST": "10.0.0.1",
    "PIPELINE_PORT": "tcp://10.0.0.1:80",
    "PIPELINES_SERVICE_PORT": "80",
    "PIPELINE_AUDIT_SERVICE_HOST": "10.0.0.2",
    "PIP_INDEX_URL": "https://example.net",
}
"""Names that Azure Pipelines, other build systems, Kubernetes and pip set."""


def test_names_of_build_systems_and_kubernetes_are_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert [each.name for each in _two(**FOREIGN)] == ["orders", "audit"]
    ignored = [str(each.args[0]) for each in caplog.records if isinstance(each.args, tuple)]
    assert ignored == ["PIPELINE_WORKSPACE", "PIPELINE_BUILD_ID"]
    caplog.clear()
    assert [each.name for each in pipelines_of(PLAIN | FOREIGN)] == [DEFAULT]
    assert pipelines_of(PLAIN | {"PIPELINE": ""})
    assert caplog.records == []


def test_empty_own_value_means_the_default_and_not_the_plain_setting() -> None:
    """So one pipeline can turn off what the others have."""
    plain = {
        "PROCESSING_DEDUPE_PROPERTY": "id",
        "PROCESSING_POISON_ERRORS": "builtins.ValueError",
        "BREAKER_FAILURE_RATIO": "0.5",
        "DEPENDENCY_BANK_RECOVERY": "manual",
    }
    orders, audit = _two(**plain, **{f"PIPELINE_AUDIT_{name}": "" for name in plain})
    assert ProcessingSettings.from_mapping(orders.settings).dedupe_property == "id"
    processing = ProcessingSettings.from_mapping(audit.settings)
    assert (processing.dedupe_property, processing.poison_errors) == ("", ())
    assert BreakerSettings.from_mapping(orders.settings).failure_ratio == 0.5
    assert BreakerSettings.from_mapping(audit.settings).failure_ratio is None
    assert DependencySettings.from_mapping(orders.settings).of("bank").recovery == "manual"
    assert DependencySettings.from_mapping(audit.settings).of("bank").recovery == "automatic"


def test_empty_own_name_of_circuit_or_queue_means_that_with_the_pipelines_name() -> None:
    plain = {"POISON_QUEUE": "bad", "BREAKER_NAME": "shop"}
    _, audit = _two(**plain, **{f"PIPELINE_AUDIT_{name}": "" for name in plain})
    assert audit.settings["POISON_QUEUE"] == "bad-audit"
    assert audit.settings["BREAKER_NAME"] == "shop-audit"


@pytest.mark.parametrize("name", ["EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP", "EVENT_HANDLER"])
def test_empty_own_setting_without_a_default_is_refused(name: str) -> None:
    message = f"PIPELINE_ORDERS_{name} is empty: remove it for the value of {name}, or set it"
    with pytest.raises(PipelineError, match=message):
        _two(**{f"PIPELINE_ORDERS_{name}": " "})


@pytest.mark.parametrize(
    ("name", "value", "read", "message"),
    [
        ("POISON_QUEUE", "A_B", ConnectionSettings, "PIPELINE_AUDIT_POISON_QUEUE is 'A_B'; it"),
        ("STOPS_APP", "maybe", BreakerSettings, "PIPELINE_AUDIT_STOPS_APP is 'maybe': it takes"),
        (
            "PROCESSING_DEDUP_PROPERTY",
            "id",
            ProcessingSettings,
            "unknown setting PIPELINE_AUDIT_PROCESSING_DEDUP_PROPERTY: did you mean "
            "PIPELINE_AUDIT_PROCESSING_DEDUPE_PROPERTY?",
        ),
        (
            "PROCESSING_POISON_ERRORS",
            "a.B",
            ProcessingSettings,
            "PROCESSING_DEPENDENCY_ERRORS and PIPELINE_AUDIT_PROCESSING_POISON_ERRORS both name",
        ),
    ],
)
def test_error_names_the_setting_that_the_operator_has_set(
    name: str, value: str, read: Any, message: str
) -> None:
    further = {f"PIPELINE_AUDIT_{name}": value, "PROCESSING_DEPENDENCY_ERRORS": "a.B"}
    _, audit = _two(**further)
    with pytest.raises(ConfigurationError) as refused, audit.explaining():
        read.from_mapping(audit.settings)
    text = str(refused.value)
    assert text.startswith("pipeline audit: ")
    assert message in text
    assert audit.explain(text) == text


def test_error_says_that_a_name_ends_with_the_pipelines_name() -> None:
    _, audit = _two(POISON_QUEUE="q" * 60)
    with pytest.raises(ConfigurationError) as refused, audit.explaining():
        ConnectionSettings.from_mapping(audit.settings)
    end = "(without PIPELINE_AUDIT_POISON_QUEUE, the pipeline adds -audit to POISON_QUEUE)"
    assert str(refused.value).endswith(end)


def test_two_names_of_one_setting_are_refused() -> None:
    both = {"PIPELINE_AUDIT_STOPS_APP": "true", "PIPELINE_AUDIT_BREAKER_STOPS_APP": "false"}
    with pytest.raises(PipelineError, match="STOPS_APP are one setting: remove one of them"):
        _two(**both)


def test_only_a_declared_pipeline_needs_a_handler() -> None:
    check_has_handler(PLAIN)
    orders, audit = _two(PIPELINE_ORDERS_EVENT_HANDLER="a:b")
    check_has_handler(orders.settings)
    with pytest.raises(PipelineError, match="set PIPELINE_AUDIT_EVENT_HANDLER, or EVENT_HANDLER"):
        check_has_handler(audit.settings)
    check_has_handler(_two(EVENT_HANDLER="a:b")[1].settings)


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
