"""Valid and invalid configuration, addresses, tokens and SASL handshakes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub._pyamqp.utils import generate_sas_token
from hypothesis import given
from hypothesis import strategies as st
from proton import Message

from local.event_hubs.config import ConfigError, HubConfig, NamespaceConfig
from local.event_hubs.connection.address import Address, parse_address
from local.event_hubs.connection.cbs import Authorization
from local.event_hubs.connection.tokens import TokenError, check_token
from local.event_hubs.errors import AmqpError
from local.event_hubs.protocol.sasl import AMQP_HEADER, SASL_HEADER, SaslServer


def document(*entities: dict[str, Any]) -> dict[str, Any]:
    namespace = {"Type": "EventHub", "Name": "emulatorNs1", "Entities": list(entities)}
    return {"UserConfig": {"NamespaceConfig": [namespace], "LoggingConfig": {"Type": "File"}}}


def test_the_emulators_format_is_read(tmp_path: Path) -> None:
    """Partition counts may be text, as in Microsoft's example."""
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            document(
                {"Name": "eh1", "PartitionCount": "2", "ConsumerGroups": [{"Name": "cg1"}]},
                {"Name": "eh2", "PartitionCount": 32, "ConsumerGroups": []},
                {"Name": "eh3"},
            )
        )
    )
    assert NamespaceConfig.from_file(path) == NamespaceConfig(
        (HubConfig("eh1", 2, ("cg1",)), HubConfig("eh2", 32), HubConfig("eh3", 1)), "emulatorNs1"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "config must be an object"),
        ({}, "UserConfig is missing in config"),
        ({"UserConfig": {"NamespaceConfig": {}}}, "UserConfig.NamespaceConfig must be a list"),
        ({"UserConfig": {"NamespaceConfig": []}}, "must list one namespace, got 0"),
        (
            document({"PartitionCount": 1}),
            "Name is missing in UserConfig.NamespaceConfig[0].Entities[0]",
        ),
        (document({"Name": "a", "PartitionCount": "x"}), "must be a whole number, got 'x'"),
        (document({"Name": "a", "PartitionCount": 0}), "must be 1 to 1024, got 0"),
        (document({"Name": "a/b"}), "event hub name 'a/b'"),
        (document({"Name": "a"}, {"Name": "A"}), "configured twice"),
        (document({"Name": "a", "ConsumerGroups": "cg"}), "ConsumerGroups must be a list"),
        (document({"Name": "a", "ConsumerGroups": [{"Name": "?"}]}), "consumer group name '?'"),
        (document({"Name": "a", "ConsumerGroups": ["cg"]}), "ConsumerGroups[0] must be an object"),
    ],
)
def test_invalid_configuration_is_refused_with_the_reason(content: object, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        NamespaceConfig.from_document(content)


def test_missing_and_malformed_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        NamespaceConfig.from_file(tmp_path / "missing.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        NamespaceConfig.from_file(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amqps://127.0.0.1:5672/events", Address("events")),
        ("events", Address("events")),
        ("/events/Partitions/3", Address("events", "3")),
        (
            "amqps://host/events/ConsumerGroups/$Default/Partitions/0",
            Address("events", "0", "$Default"),
        ),
        ("events/consumergroups/%24Default/partitions/1", Address("events", "1", "$Default")),
        ("$cbs", Address("$cbs")),
        ("$management", Address("$management")),
        ("events/$management", Address("$management")),
    ],
)
def test_addresses_are_parsed(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "/",
        "a/b",
        "a/Partitions/",
        "a/Partitions/0/x",
        "a/ConsumerGroups/c",
        "amqps://[/a",
    ],
)
def test_other_addresses_are_not_found(text: str | None) -> None:
    with pytest.raises(AmqpError, match="amqp:not-found"):
        parse_address(text)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_not_found(text: str) -> None:
    try:
        parse_address(text)
    except AmqpError as error:
        assert error.condition == "amqp:not-found"


KEYS = {"root": "c2VjcmV0"}


def sas(resource: str, name: str, key: str, expiry: int) -> str:
    """Return a token that is signed by the Python SDK."""
    return str(generate_sas_token(resource, name, key, expiry))  # type: ignore[no-untyped-call]


def test_a_signed_token_covers_its_hub_until_it_expires() -> None:
    token = sas("sb://127.0.0.1:5672/Events", "root", KEYS["root"], 2000)
    grant = check_token(token, KEYS, 1000)
    assert grant.covers("events", 1999)
    assert not grant.covers("events", 2000)
    assert not grant.covers("event", 1000)
    whole = check_token(sas("sb://h/", "root", KEYS["root"], 2000), KEYS, 1000)
    assert whole.covers("anything", 1000)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (sas("sb://h/e", "root", "d3Jvbmc=", 2000), "invalid signature"),
        (sas("sb://h/e", "other", KEYS["root"], 2000), "key name"),
        (sas("sb://h/e", "root", KEYS["root"], 1000), "expired"),
        ("SharedAccessSignature sr=x&sig=y", "sr, sig, se and skn"),
        ("Bearer abc", "must be a shared access signature"),
        ("", "must be a shared access signature"),
    ],
)
def test_other_tokens_are_refused(token: str, reason: str) -> None:
    with pytest.raises(TokenError, match=reason):
        check_token(token, KEYS, 1000)


def test_a_renewed_token_keeps_access_to_its_hub() -> None:
    """Clients renew tokens for long-lived links; expired grants are removed."""
    now = [1000.0]
    authorization = Authorization(KEYS, lambda: now[0])

    def put(hub: str, expiry: int) -> None:
        token = sas(f"sb://h/{hub}", "root", KEYS["root"], expiry)
        request = Message(body=token, properties={"operation": "put-token"})
        assert authorization.answer(request).properties["status-code"] == 202

    put("other", 1500)
    put("events", 2000)
    for expiry in range(3000, 9000, 1000):
        now[0] = expiry - 1001
        put("events", expiry)
        now[0] = expiry - 1000
        assert authorization.allows("events")
        assert not authorization.allows("other")
    assert len(authorization._grants) == 1
    now[0] = 8000
    assert not authorization.allows("events")


def sasl_init(mechanism: bytes) -> bytes:
    fields = bytes((0xA3, len(mechanism))) + mechanism + b"\xa0\x00"
    body = b"\x00\x53\x41\xc0" + bytes((len(fields) + 1, 2)) + fields
    return (len(body) + 8).to_bytes(4, "big") + b"\x02\x01\x00\x00" + body


@pytest.mark.parametrize("mechanism", [b"ANONYMOUS", b"MSSBCBS"])
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_sasl_accepts_both_mechanisms(mechanism: bytes, step: int) -> None:
    """The handshake may be split at any byte; the bytes after the handshake are left for AMQP."""
    stream = SASL_HEADER + sasl_init(mechanism)
    server = SaslServer()
    answer = b""
    for start in range(0, len(stream), step):
        answer += server.feed(stream[start : start + step])
    assert server.finished
    assert answer.startswith(SASL_HEADER)
    assert b"ANONYMOUS" in answer
    assert b"MSSBCBS" in answer
    server = SaslServer()
    server.feed(stream + AMQP_HEADER)
    assert server.leftover == AMQP_HEADER


def test_sasl_may_be_skipped() -> None:
    server = SaslServer()
    assert server.feed(AMQP_HEADER + b"more") == b""
    assert server.finished
    assert server.leftover == AMQP_HEADER + b"more"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HT",
        b"x",
        b"AMQP\x02\x01\x00\x00",
        SASL_HEADER + sasl_init(b"PLAIN"),
        SASL_HEADER + b"\xff\xff\xff\xff\x02\x01\x00\x00",
        SASL_HEADER + b"\x00\x00\x00\x10\x02\x00\x00\x00\x00\x53\x41\x45\x00\x00\x00\x00",
        SASL_HEADER + b"\x00\x00\x00\x0c\x02\x01\x00\x00\x00\x53\x44\x45",
    ],
)
def test_other_handshakes_are_framing_errors(data: bytes) -> None:
    with pytest.raises(AmqpError, match="framing-error"):
        SaslServer().feed(data)


@given(st.binary(max_size=80))
def test_any_handshake_is_accepted_or_a_framing_error(data: bytes) -> None:
    for prefix in (b"", SASL_HEADER, SASL_HEADER + b"\x00\x00\x00\x20\x02\x01\x00\x00"):
        try:
            SaslServer().feed(prefix + data)
        except AmqpError as error:
            assert error.condition == "amqp:connection:framing-error"
