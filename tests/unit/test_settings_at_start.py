"""Settings with which nothing would ever be handled are refused by each program at its start."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn

import breaker.__main__
import console.__main__
import processing.__main__
from breaker.configuration.errors import ConfigurationError
from processing.bootstrap import Application

KEYED = "SharedAccessKeyName=n;SharedAccessKey=hush"
USABLE = {
    "AzureWebJobsStorage": "AccountName=account;AccountKey=aHVzaA==",
    "EventHubConnection": f"Endpoint=sb://ns.servicebus.windows.net/;{KEYED}",
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "$Default",
    "REDIS_URL": "redis://:hush@h/0",
    "CONSOLE_TOKEN": "hush-hush-hush-hush",
}
SIGNED = "SharedAccessSignature=sv=1&ss=b&sig=hush"
UNRESOLVED = "@Microsoft.KeyVault(SecretUri=https://hush.vault.azure.net/secrets/x)"
OF_CIRCUIT: list[tuple[str, dict[str, str]]] = [
    ("REDIS_URL", {"REDIS_URL": UNRESOLVED}),
    ("REDIS_URL", {"REDIS_URL": "redis://:hush@h/1", "BREAKER_REDIS_CLUSTER": "true"}),
    ("REDIS_URL", {"REDIS_URL": "redis://h?decode_responses=true"}),
    ("REDIS_URL", {"REDIS_URL": "redis://h?encoding=latin-1"}),
    ("REDIS_URL", {"REDIS_URL": "redis://h?socket_timeout=0.00001"}),
    ("REDIS_URL", {"REDIS_URL": "redis://h?client_name=hush%20b"}),
    ("REDIS_URL", {"REDIS_URL": "redis://h?max_connections=1"}),
    ("BREAKER_NAME", {"BREAKER_NAME": UNRESOLVED}),
]
OF_EVENTS: list[tuple[str, dict[str, str]]] = [
    *(("POISON_QUEUE", {"POISON_QUEUE": name}) for name in ("Poison_Queue", "poison--q", "ab")),
    ("AzureWebJobsStorage", {"AzureWebJobsStorage": UNRESOLVED}),
    ("AzureWebJobsStorage", {"AzureWebJobsStorage": "hush"}),
    ("AzureWebJobsStorage", {"AzureWebJobsStorage": "AccountName=hush"}),
    ("AzureWebJobsStorage", {"AzureWebJobsStorage": f"BlobEndpoint=https://hush;{SIGNED}"}),
    (
        "AzureWebJobsStorage is missing",
        {
            "AzureWebJobsStorage": "",
            "AzureWebJobsStorage__blobServiceUri": "https://a1b.blob.core.windows.net",
        },
    ),
    (
        "BreakwaterStorage",
        {"BreakwaterStorage": f"BlobEndpoint=https://b;QueueEndpoint=https://q;{SIGNED}"},
    ),
    ("EventHubConnection", {"EventHubConnection": UNRESOLVED}),
    ("EventHubConnection", {"EventHubConnection": "Endpoint=sb://hush.servicebus.windows.net/"}),
    (
        "EventHubConnection__fullyQualifiedNamespace",
        {"EventHubConnection": "", "EventHubConnection__fullyQualifiedNamespace": UNRESOLVED},
    ),
    ("EVENT_HUB_NAME", {"EVENT_HUB_NAME": "two words"}),
]
LANES = ("PROCESSING_MAX_LANES", {"PROCESSING_MAX_LANES": UNRESOLVED})

COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "poison": (processing.__main__.main, ["poison", "list"]),
    "parked": (processing.__main__.main, ["parked", "list"]),
    "partitions": (processing.__main__.main, ["partitions"]),
    "redrive": (processing.__main__.main, ["redrive"]),
    "breaker": (breaker.__main__.main, ["status"]),
    "console": (console.__main__.main, []),
}


@pytest.mark.parametrize(("setting", "changes"), OF_CIRCUIT + OF_EVENTS)
def test_app_is_not_loaded(setting: str, changes: dict[str, str]) -> None:
    """The host starts no listener, and shows the message."""
    Application(USABLE).check()
    with pytest.raises(ConfigurationError, match=f"{setting}.* it takes ") as caught:
        Application(USABLE | changes).check()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "case"),
    [
        (program, case)
        for program in COMMANDS
        for case in (OF_CIRCUIT if program == "breaker" else OF_EVENTS)
    ]
    + [
        ("console", case)
        for case in [*OF_CIRCUIT, ("CONSOLE_TOKEN", {"CONSOLE_TOKEN": UNRESOLVED})]
    ]
    + [(program, LANES) for program in ("redrive", "console")],
)
def test_command_ends_with_the_message(
    program: str,
    case: tuple[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit code is 2, and no connection was tried."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda _: None)  # would serve until a signal
    setting, changes = case
    main, arguments = COMMANDS[program]
    path = tmp_path / "local.settings.json"
    path.write_text(json.dumps({"Values": USABLE | changes}))
    assert main([*arguments, "--settings", str(path)]) == 2
    error = capsys.readouterr().err
    assert re.search(f"{setting}.* it takes ", error)
    assert "hush" not in error


def test_console_without_hub_and_storage_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a console shows the circuit alone; settings that are left out are no mistake."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda _: None)
    path = tmp_path / "local.settings.json"
    circuit = {name: USABLE[name] for name in ("REDIS_URL", "CONSOLE_TOKEN")}
    for settings in (circuit, circuit | {"EVENT_HUB_NAME": "events"}, USABLE):
        path.write_text(json.dumps({"Values": settings}))
        assert console.__main__.main(["--settings", str(path)]) == 1  # the server did not start
