"""One local.settings.json, read by every program of the project: all have the same answer."""

from __future__ import annotations

import codecs
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import breaker.cli.circuits
import console.composition
from breaker import BreakerSettings
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.local_settings import read_settings
from console.settings import ConsoleSettings
from loadtest.errors import UsageError
from loadtest.plan.settings import AppLimits
from loadtest.target.endpoints import Endpoints
from local.functions_host.app_settings import AppSettings, load_settings_file
from processing.bootstrap import Application
from processing.circuit_wiring import CircuitWiring
from processing.settings import ConnectionSettings, ProcessingSettings

HUB = "Endpoint=sb://h.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=aHVzaA=="
STORAGE = "DefaultEndpointsProtocol=https;AccountName=data;AccountKey=aHVzaA=="
TOKEN = "a-token-of-32-characters-for-test"
VALUES = {
    "AzureWebJobsStorage": STORAGE,
    "BreakwaterStorage": "",
    "EventHubConnection": HUB,
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "app",
    "POISON_QUEUE": "bad-events",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "EVENT_HANDLER": "processing.handlers.ledger:LedgerHandler",
    "BREAKER_NAME": "orders",
    "BREAKER_FAILURE_THRESHOLD": "7",
    "PROCESSING_MAX_LANES": "12",
    "PROCESSING_POISON_ORDERING": "park",
    "DEPENDENCY_BANK_BREAK_SECONDS": "5",
    "CONSOLE_TOKEN": TOKEN,
    "CONSOLE_ORIGINS": "https://a,https://b",
    "CONSOLE_CALLBACK_HOSTS": "*.example",
}


OF_THE_HOST = {
    "EventHubConnection__fullyQualifiedNamespace": "h.servicebus.windows.net",
    "EventHubConnection__credential": "managedidentity",
    "AzureWebJobsStorage__accountName": "data",
    "AzureWebJobsStorage:clientId": "7d9f0a52-0a1b-4c5d-8e6f-0123456789ab",
    "AzureFunctionsJobHost__extensions__eventHubs__batchCheckpointFrequency": "1",
}
"""Further settings of Azure's host."""


@dataclass
class Answers:
    """Values that the programs read in a file, by their names."""

    found: dict[str, set[object]]

    def add(self, **values: object) -> None:
        for name, value in values.items():
            self.found.setdefault(name, set()).add(value)


def functions_host(file: Path, answers: Answers) -> None:
    environment: dict[str, str] = {}
    load_settings_file(file, environment)
    settings = AppSettings(environment, str(file))
    Application(environment).check()
    answers.add(
        hub=settings.expand("%EVENT_HUB_NAME%", "here"),
        group=settings.expand("%EVENT_HUB_CONSUMER_GROUP%", "here"),
        connection=settings.connection("EventHubConnection", "here"),
        storage=settings.storage("AzureWebJobsStorage", "here"),
    )
    app(environment, answers)


def app(values: Mapping[str, str], answers: Answers) -> None:
    connections = ConnectionSettings.from_mapping(values)
    processing = ProcessingSettings.from_mapping(values)
    wiring = CircuitWiring(values, AsyncExitStack())
    answers.add(
        hub=connections.event_hub_name,
        group=connections.event_hub_consumer_group,
        connection=connections.event_hub,
        storage=connections.host_storage.connection,
        queue=connections.poison_queue,
        redis=connections.redis_url,
        lanes=processing.max_lanes,
        ordering=processing.poison_ordering,
        name=wiring.breaking.name,
        threshold=wiring.breaking.failure_threshold,
        bank=wiring.depending.of("bank").break_seconds,
    )
    answers.add(redis=wiring.redis_url)


def processing_command_line(file: Path, answers: Answers) -> None:
    app(read_settings(file), answers)


def breaker_command_line(file: Path, answers: Answers) -> None:
    values = read_settings(file)
    circuit = breaker.cli.circuits.build(values)
    answers.add(name=circuit.name, threshold=BreakerSettings.from_mapping(values).failure_threshold)


def console_server(file: Path, answers: Answers) -> None:
    values = read_settings(file)
    settings = ConsoleSettings.from_mapping(values)
    console.composition.compose(values, settings)
    answers.add(
        token=settings.token, origins=settings.origins, callback_hosts=settings.callback_hosts
    )


def load_test(file: Path, answers: Answers) -> None:
    endpoints = Endpoints(
        redis_url="",
        cloud_url="",
        management_url="",
        workflow_url="",
        storage_connection_string="",
        event_hub_connection="",
        event_hub_name="",
        event_grid_topic_endpoint="",
        poison_queue="",
        settings_file=file,
    )
    limits = AppLimits.from_values(endpoints.app_settings())
    answers.add(
        name=limits.breaker_name, threshold=limits.failure_threshold, lanes=limits.max_lanes
    )


READERS: tuple[Callable[[Path, Answers], None], ...] = (
    functions_host,
    processing_command_line,
    breaker_command_line,
    console_server,
    load_test,
)
EXPECTED: Mapping[str, object] = {
    "hub": "events",
    "group": "app",
    "connection": HUB,
    "storage": STORAGE,
    "queue": "bad-events",
    "redis": "redis://127.0.0.1:6379/0",
    "lanes": 12,
    "ordering": "park",
    "name": "orders",
    "threshold": 7,
    "bank": 5.0,
    "token": TOKEN,
    "origins": ("https://a", "https://b"),
    "callback_hosts": ("*.example",),
}
DEFAULTS = {
    "queue": "poison",
    "lanes": 128,
    "ordering": "skip",
    "name": "breakwater",
    "threshold": 100,
    "bank": 30.0,
    "origins": (),
    "callback_hosts": ("127.0.0.1", "localhost"),
}
OPTIONAL = tuple(
    name
    for name in VALUES
    if name.startswith(("BREAKER", "PROCESSING", "DEPENDENCY", "CONSOLE_C", "CONSOLE_O", "POISON"))
)


def document(values: Mapping[str, str | None]) -> str:
    return json.dumps({"IsEncrypted": False, "Values": values}, indent=2)


def read_by_all(file: Path, readers: tuple[Callable[[Path, Answers], None], ...]) -> Answers:
    answers = Answers({})
    for reader in readers:
        reader(file, answers)
    return answers


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "host.json").write_bytes(
        codecs.BOM_UTF8 + b'{\n  "version": "2.0", // here\n  "functionTimeout": "00:10:00",\n}\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path / "local.settings.json"


@pytest.mark.parametrize(
    "pad",
    [
        *("{}", " {} ", "{}\n", "{}\r\n", "\t{}", '"{}"', "'{}'", ' "{}"\n', '" {} "'),
    ],
)
def test_padded_values_are_read_alike(file: Path, pad: str) -> None:
    file.write_text(document({name: pad.format(value) for name, value in VALUES.items()}))
    assert read_by_all(file, READERS).found == {name: {value} for name, value in EXPECTED.items()}


@pytest.mark.parametrize("empty", ["", " ", '""', "\n", None])
def test_empty_values_mean_the_default_to_all(file: Path, empty: str | None) -> None:
    file.write_text(document(VALUES | dict.fromkeys(OPTIONAL, empty)))
    expected = {**EXPECTED, **DEFAULTS}
    assert read_by_all(file, READERS).found == {name: {value} for name, value in expected.items()}


def test_forms_of_core_tools_are_read_alike(file: Path) -> None:
    text = document(VALUES).replace("\n", " // here\n").replace('"\n  }', '",\n  }')
    file.write_bytes(codecs.BOM_UTF8 + text.replace("{", "{ /* , */", 1).encode())
    assert read_by_all(file, READERS).found == {name: {value} for name, value in EXPECTED.items()}


def test_service_links_change_nothing(file: Path) -> None:
    links = {
        f"{prefix}_{name}": value
        for prefix in ("BREAKER", "PROCESSING", "CONSOLE", "DEPENDENCY", "BREAKWATERSTORAGE")
        for name, value in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "6379",
            "SERVICE_PORT_HTTP": "6379",
            "SERVICE_PORT_6379_TCP": "6379",
            "PORT": "tcp://10.0.0.1:80",
            "PORT_80_TCP": "tcp://10.0.0.1:80",
            "PORT_80_TCP_PROTO": "tcp",
            "PORT_80_TCP_PORT": "80",
            "PORT_80_TCP_ADDR": "10.0.0.1",
        }.items()
    }
    file.write_text(document(VALUES | links))
    assert read_by_all(file, READERS).found == {name: {value} for name, value in EXPECTED.items()}


def test_name_of_an_account_is_enough_for_all(file: Path) -> None:
    """Microsoft's own form; only the local host's emulator takes no identity."""
    values = VALUES | {"AzureWebJobsStorage": "", "AzureWebJobsStorage__accountName": "data"}
    file.write_text(document(values))
    read_by_all(file, READERS[1:])
    environment: dict[str, str] = {}
    load_settings_file(file, environment)
    Application(environment).check()
    account = ConnectionSettings.from_mapping(environment).host_storage
    assert (account.blob, account.queue) == (
        "https://data.blob.core.windows.net",
        "https://data.queue.core.windows.net",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (document(VALUES)[:-3], "is not JSON: line"),
        ('{"Values": {"A": [1]}}', "A is an array: it takes a string"),
        ('{"IsEncrypted": true, "Values": {}}', "is encrypted"),
    ],
)
def test_broken_file_is_refused_alike(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    messages = set()
    for reader in READERS:
        with pytest.raises((ConfigurationError, UsageError)) as raised:
            reader(file, Answers({}))
        messages.add(str(raised.value))
    assert len(messages) == 1
    assert says in messages.pop()


@pytest.mark.parametrize(
    "name",
    [
        *("EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP", "Event_Hub_Name"),
        *("EventHubConnection", "EVENTHUBCONNECTION", "AzureWebJobsStorage"),
        "EventHubConnection__fullyQualifiedNamespace",
        "eventhubconnection__credential",
        "AzureWebJobsStorage__accountName",
        "AzureWebJobsStorage:clientId",
        "AZUREFUNCTIONSJOBHOST__extensions__eventHubs__batchCheckpointFrequency",
    ],
)
def test_app_warns_of_a_padded_value_that_azures_host_reads(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Azure's host takes the quotes as a part of the value, and receives nothing.

    The host reads names without regard to capitals, and `__` as `:`.
    """
    caplog.set_level(logging.WARNING)
    others = {each: VALUES[each] for each in VALUES if each.lower() != name.lower()}
    value = {each.lower(): text for each, text in {**OF_THE_HOST, **VALUES}.items()}[name.lower()]
    Application({**others, name: value}).check()
    assert not caplog.messages
    Application({**others, name: f'"{value}"'}).check()
    (line,) = caplog.messages
    assert line.startswith(f"The app setting {name} has blanks or quotes around its value")


def test_app_does_not_warn_of_blanks_that_the_host_ignores(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor of values that only the app reads."""
    caplog.set_level(logging.WARNING)
    Application(
        {
            **VALUES,
            "AzureWebJobsStorage": f" {STORAGE}\n",
            "EventHubConnection": f" {HUB}",
            "POISON_QUEUE": '"bad-events"',
            "EventHubConnectionOfAnotherApp": '"x"',
        }
    ).check()
    assert not caplog.messages
