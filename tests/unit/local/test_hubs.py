"""The hubs that a stack serves for the pipelines of an app."""

from __future__ import annotations

from pathlib import Path

import pytest

from breaker.configuration.pipelines import PipelineError
from local.event_hubs.config import HubConfig, NamespaceConfig
from local.services.event_hubs import Hub, event_hubs_service
from local.settings_file import APP_DEFAULTS, app_settings
from local.stack.hubs import hubs_of
from local.state_directory import StateDirectory

TWO = {"PIPELINES": "orders,audit", "PIPELINE_ORDERS_EVENT_HUB_NAME": "orders"}


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path)
    directory.clear()
    return directory


def hubs(directory: StateDirectory, **settings: str) -> tuple[Hub, ...]:
    return hubs_of({**APP_DEFAULTS, **settings}, directory, None)


def test_app_without_pipelines_has_one_hub(directory: StateDirectory) -> None:
    assert hubs(directory) == (Hub("events", 4),)
    own_group = hubs(directory, EVENT_HUB_CONSUMER_GROUP="app")
    assert own_group == (Hub("events", 4, ("app",)),)


def test_each_pipeline_has_its_hub(directory: StateDirectory) -> None:
    """A pipeline without a setting of its own reads the hub of the plain name."""
    assert hubs(directory, **TWO) == (Hub("orders", 4), Hub("events", 4))


def test_pipelines_of_one_hub_have_their_groups(directory: StateDirectory) -> None:
    """Hubs and groups are compared without case, as on Azure."""
    further = {
        "PIPELINE_AUDIT_EVENT_HUB_NAME": "Orders",
        "PIPELINE_AUDIT_EVENT_HUB_CONSUMER_GROUP": "audit",
    }
    assert hubs(directory, **TWO, **further) == (Hub("orders", 4, ("audit",)),)


def test_pipelines_that_read_the_same_events_are_refused(directory: StateDirectory) -> None:
    """The app would refuse them too, but only once the stack is up."""
    with pytest.raises(PipelineError, match="read the hub events with the consumer group"):
        hubs(directory, PIPELINES="orders,audit")


def test_pipeline_without_a_handler_is_refused(directory: StateDirectory) -> None:
    """A handler of one pipeline is not that of the others, and the sample is not, either."""
    own = TWO | {"PIPELINE_ORDERS_EVENT_HANDLER": "orders:handle"}
    addresses = dict.fromkeys(
        ("storage", "event_hub", "redis_url", "topic_endpoint", "topic_key"), "x"
    )
    with pytest.raises(PipelineError, match="pipeline audit: EVENT_HANDLER is missing: set PIPE"):
        hubs_of(app_settings(**addresses, overrides=own), directory, None)
    sample = app_settings(**addresses, overrides=TWO)
    assert len(hubs_of(sample, directory, None)) == 2


def test_endpoint_serves_each_hub_with_its_groups(tmp_path: Path) -> None:
    config = tmp_path / "hubs.json"
    served = (Hub("orders", 2, ("audit", "console")), Hub("events", 4))
    event_hubs_service(1, 2, config, hubs=served, key="k")
    assert NamespaceConfig.from_file(config).hubs == (
        HubConfig("orders", 2, ("console", "audit")),
        HubConfig("events", 4, ("console",)),
    )
