"""The parsers of connection strings, compared with those of the SDKs."""

from __future__ import annotations

import pytest
from azure.eventhub._client_base import _parse_conn_str
from azure.eventhub.aio import EventHubConsumerClient
from azure.storage.blob._shared.base_client import parse_connection_str
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from hypothesis import example, given
from hypothesis import strategies as st

from processing.connection_strings import (
    ConnectionStringError,
    EventHubsConnection,
    StorageConnection,
)
from processing.errors import SettingsError
from processing.settings import ConnectionSettings

KEY = "a2V5"
HUB = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=a2V5"
ACCOUNT = f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY}"
SUFFIX = "EndpointSuffix=core.windows.net"
SAS = "SharedAccessSignature=sv=1&sig=x"

noise = st.one_of(
    st.sampled_from(["", " ", "=", "a", "a=", "=a", "a=b=c", "Endpoint", "AccountName"]),
    st.text(max_size=3),
)


def texts(**values: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Return texts that are connection strings with these values, or nearly."""
    pairs = [(name, value) for name, each in values.items() for value in each]
    names = st.sampled_from(pairs).flatmap(
        lambda pair: st.sampled_from([pair[0], pair[0], pair[0].upper(), f" {pair[0]}"]).map(
            lambda name: f"{name}={pair[1]}"
        )
    )
    parts = st.lists(names, max_size=6)
    some_noise = st.one_of(st.just(list[str]()), st.lists(noise, max_size=1))
    joined = st.builds(list.__add__, parts, some_noise).flatmap(st.permutations).map(";".join)
    return st.builds(str.__add__, joined, st.sampled_from(["", "", ";", ";;", " "]))


hub_texts = texts(
    Endpoint=("sb://ns.net/", "sb://ns.net:5671", "sb://", "sb://[::1", "ns.net"),
    SharedAccessKeyName=("n", "", " "),
    SharedAccessKey=(KEY, f"{KEY}==", ""),
    SharedAccessSignature=("SharedAccessSignature sr=x&se=1", "se=x", ""),
    EntityPath=("events", ""),
    UseDevelopmentEmulator=("true", "false"),
)
storage_texts = texts(
    DefaultEndpointsProtocol=("https", "http", "ftp", ""),
    AccountName=("a", "b", "", "/"),
    AccountKey=(KEY, ""),
    EndpointSuffix=("core.windows.net", "core.chinacloudapi.cn", ""),
    SharedAccessSignature=("sv=1&sig=x", ""),
    BlobEndpoint=("https://b.invalid", "http://127.0.0.1:1/a/", "https://b?sig=x", "b.invalid", ""),
    QueueEndpoint=("https://q.invalid", "http://127.0.0.1:2/a", "https://q?sig=x", "http://[", ""),
    BlobSecondaryEndpoint=("https://b-secondary.invalid",),
    UseDevelopmentStorage=("true", "True", "false"),
)


@given(hub_texts)
@example(HUB)
@example(f"{HUB};EntityPath=events;UseDevelopmentEmulator=true;")
@example(f"{HUB};ENDPOINT=sb://other.net")
@example("endpoint=sb://ns.net:5671;SharedAccessSignature=SharedAccessSignature sr=x&se=1")
def test_event_hubs_sdk_reads_each_accepted_text_with_the_same_result(text: str) -> None:
    """A text that the SDK refuses is refused."""
    try:
        ours = EventHubsConnection.parse(text)
    except ConnectionStringError:
        return
    host, key_name, key, entity, signature, _, _ = _parse_conn_str(text)
    assert ours == EventHubsConnection(host, entity, key_name, key, signature)
    client = EventHubConsumerClient.from_connection_string(text, "$Default", eventhub_name="events")
    assert client._address.hostname == ours.host


@given(storage_texts)
@example(f"{ACCOUNT};{SUFFIX}")
@example(f"{ACCOUNT};BlobEndpoint=http://127.0.0.1:1/a;QueueEndpoint=http://127.0.0.1:2/a")
@example(f"BlobEndpoint=https://b;QueueEndpoint=https://q;{SAS}")
@example("BlobEndpoint=https://b?sig=x;QueueEndpoint=https://q?sig=x")
@example("UseDevelopmentStorage=true")
@example(f"{ACCOUNT};BlobEndpoint=;{SUFFIX}")
@example(f"{ACCOUNT};{SUFFIX};DefaultEndpointsProtocol=http")
@example(f"{ACCOUNT};AccountName=b;BlobEndpoint=https://b;blobendpoint=https://c")
def test_storage_sdks_read_each_accepted_text_with_the_same_result(text: str) -> None:
    """A text that one of the SDKs refuses is refused."""
    try:
        ours = StorageConnection.parse(text)
    except ConnectionStringError:
        return
    for service, endpoint in (("blob", ours.blob), ("queue", ours.queue)):
        assert parse_connection_str(text, None, service)[0] == endpoint
    blob = ContainerClient.from_connection_string(text, "poison").primary_endpoint
    queue = QueueClient.from_connection_string(text, "poison").primary_endpoint
    assert blob.startswith(ours.blob.partition("?")[0].rstrip("/"))
    assert queue.startswith(ours.queue.partition("?")[0].rstrip("/"))


@pytest.mark.parametrize(
    "text",
    [
        f"{ACCOUNT};{SUFFIX}",
        f"AccountName=a;AccountKey={KEY}",
        f"BlobEndpoint=https://b.invalid;QueueEndpoint=https://q.invalid;{SAS}",
        f"{ACCOUNT};BlobEndpoint=http://127.0.0.1:1/a;QueueEndpoint=http://127.0.0.1:2/a;",
        "UseDevelopmentStorage=true",
    ],
)
def test_usual_storage_strings_are_accepted(text: str) -> None:
    """The parser is not too strict."""
    StorageConnection.parse(text)


@pytest.mark.parametrize(
    ("setting", "text", "says"),
    [
        ("AzureWebJobsStorage", "hush", "has no AccountName; it takes Default"),
        ("AzureWebJobsStorage", f"BlobEndpoint=https://hush;{SAS}", "no AccountName and no Queue"),
        ("AzureWebJobsStorage", "AccountName=hush", "has no AccountKey and no SharedAccessSig"),
        ("AzureWebJobsStorage", f"{ACCOUNT};hush", "has a part without a value"),
        ("AzureWebJobsStorage", f"{ACCOUNT};BlobEndpoint=hush", "Endpoint that is no http"),
        ("AzureWebJobsStorage", f"{ACCOUNT};BlobSecondaryEndpoint=hush", "but no BlobEndpoint"),
        ("AzureWebJobsStorage", "@Microsoft.KeyVault(SecretUri=https://hush)", "Key Vault ref"),
        ("EventHubConnection", "hush", "has no Endpoint; it takes Endpoint=sb:"),
        ("EventHubConnection", "@Microsoft.KeyVault(SecretUri=https://hush)", "Key Vault ref"),
        ("EventHubConnection", "Endpoint=sb://hush", "has no SharedAccessKey;"),
        ("EventHubConnection", "Endpoint=sb://x;SharedAccessKey=hush", "no SharedAccessKeyName"),
        ("EventHubConnection", "Endpoint=sb://x;SharedAccessKeyName=hush", "no SharedAccessKey;"),
        ("EventHubConnection", f"{HUB};ENDPOINT=hush", "has two parts of the same name"),
        ("EventHubConnection", f"{HUB};hush=", "has a part without a name or without a value"),
    ],
)
def test_unusable_text_is_refused_by_name(setting: str, text: str, says: str) -> None:
    """The message quotes no part, because a part may be a key."""
    usable = {
        "AzureWebJobsStorage": ACCOUNT,
        "EventHubConnection": HUB,
        "EVENT_HUB_NAME": "events",
        "REDIS_URL": "redis://h",
    }
    ConnectionSettings.from_mapping(usable)
    with pytest.raises(SettingsError, match=f"the app setting {setting} .*{says}") as caught:
        ConnectionSettings.from_mapping(usable | {setting: text})
    assert "hush" not in str(caught.value)
