"""The parsers of connection strings, compared with those of the SDKs."""

from __future__ import annotations

import re

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.eventhub._client_base import _parse_conn_str
from azure.eventhub.aio import EventHubConsumerClient
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from azure.storage.blob._shared.base_client import parse_connection_str
from azure.storage.blob.aio import ContainerClient
from azure.storage.queue._shared.authentication import (
    SharedKeyCredentialPolicy as QueueKeyPolicy,
)
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
ACCOUNT = f"DefaultEndpointsProtocol=https;AccountName=abc;AccountKey={KEY}"
SUFFIX = "EndpointSuffix=core.windows.net"
SAS = "SharedAccessSignature=sv=1&ss=bq&srt=sco&sig=x"
TOKEN = "SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1"
NAMESPACE = "Endpoint=sb://ns.servicebus.windows.net/"
BLOB, QUEUE = "https://abc.blob.core.windows.net", "https://abc.queue.core.windows.net"

SETTING = "EventHubConnection__fullyQualifiedNamespace"
IDENTITY = {"AzureWebJobsStorage": ACCOUNT, "EVENT_HUB_NAME": "events", "REDIS_URL": "redis://h"}
AZURE = AzureNamedKeyCredential("n", "k")

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
    Endpoint=("sb://ns.net/", "sb://ns.net:5671", "sb://", "sb://[::1", "ns.net", " sb://NS.net"),
    SharedAccessKeyName=("n", "", " "),
    SharedAccessKey=(KEY, f"{KEY}==", ""),
    SharedAccessSignature=("SharedAccessSignature sr=x&sig=y&se=1", "sr=x&sig=y&se=1", "se=x", ""),
    EntityPath=("events", ""),
    UseDevelopmentEmulator=("true", "True", "false", "yes"),
)
storage_texts = texts(
    DefaultEndpointsProtocol=("https", "http", "ftp", ""),
    AccountName=("abc", "bcd", "", "/", "A_B"),
    AccountKey=(KEY, f" {KEY}", "a", ""),
    EndpointSuffix=(
        "core.windows.net",
        "core.chinacloudapi.cn",
        "blob.core.windows.net",
        "a b",
        "",
    ),
    SharedAccessSignature=(
        "sv=1&sig=x",
        "?sv=1&ss=bqf&sig=x",
        "sv=1&ss=b&sig=x",
        "sig=x&new=1",
        "",
    ),
    BlobEndpoint=(
        "https://b.invalid",
        BLOB,
        QUEUE,
        "http://127.0.0.1:1/a/",
        "https://b?sig=x",
        "b.invalid",
        "",
    ),
    QueueEndpoint=(
        "https://q.invalid",
        QUEUE,
        f"{QUEUE}/poison",
        "http://127.0.0.1:2/a",
        "https://q?sig=x",
        "http://[",
        "",
    ),
    BlobSecondaryEndpoint=("https://b-secondary.invalid",),
    UseDevelopmentStorage=("true", "True", "false"),
)


@given(hub_texts)
@example(HUB)
@example(f"{HUB};EntityPath=events;UseDevelopmentEmulator=true;")
@example(f"{HUB};ENDPOINT=sb://other.net")
@example(f"endpoint=ns.net:5671;{TOKEN}")
@example(f"Endpoint=sb://;{TOKEN}")
@example(HUB.replace(";", " ; ").replace("=n", " = n"))
def test_event_hubs_sdk_reads_each_accepted_text_with_the_same_result(text: str) -> None:
    """A text that the SDK refuses is refused."""
    try:
        ours = EventHubsConnection.parse(text)
    except ConnectionStringError:
        return
    host, key_name, key, entity, signature, _, emulator = _parse_conn_str(ours.text)
    assert ours == EventHubsConnection(host, entity, key_name, key, signature, emulator)
    client = EventHubConsumerClient.from_connection_string(
        ours.text, "$Default", eventhub_name="events"
    )
    assert client._address.hostname == ours.host


@given(storage_texts)
@example(f"{ACCOUNT};{SUFFIX}")
@example(f"{ACCOUNT};;{SUFFIX}")
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
        assert parse_connection_str(ours.text, None, service)[0] == endpoint
    clients = [
        each.from_connection_string(ours.text, "poison") for each in (ContainerClient, QueueClient)
    ]
    blob, queue = (client.primary_endpoint for client in clients)
    for client in clients:
        assert isinstance(client.credential, SharedKeyCredentialPolicy | QueueKeyPolicy) or (
            "sig=" in client.url
        )
    assert blob.startswith(ours.blob.partition("?")[0].rstrip("/"))
    assert queue.startswith(ours.queue.partition("?")[0].rstrip("/"))


@pytest.mark.parametrize(
    "text",
    [
        f"{ACCOUNT};{SUFFIX}",
        f"AccountName=abc;AccountKey={KEY}",
        f"accountname=abc;accountkey={KEY};;",
        f"BlobEndpoint=https://b.invalid;QueueEndpoint=https://q.invalid;{SAS}",
        f"BlobEndpoint={BLOB}/;QueueEndpoint={QUEUE}/;TableEndpoint=https://t;{SAS}",
        f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=?sv=1&sig=x",
        f"BlobEndpoint={BLOB}?sv=1&sig=x;QueueEndpoint={QUEUE}?sv=1&ss=q&sig=x",
        f"{ACCOUNT};BlobEndpoint=http://127.0.0.1:1/abc;QueueEndpoint=http://azurite_1:2/abc;",
        f"AccountName=my-test;AccountKey={KEY};BlobEndpoint=http://h/a;QueueEndpoint=http://h/b",
        f"{ACCOUNT};EndpointSuffix=core.chinacloudapi.cn\n",
        "UseDevelopmentStorage=true",
    ],
)
def test_usual_storage_strings_are_accepted(text: str) -> None:
    """The parser is not too strict."""
    StorageConnection.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        HUB,
        f" {HUB};\n",
        HUB.replace(";", " ; "),
        HUB.replace("sb://ns", "NS").replace(".net/", ".net"),
        HUB.replace("sb://ns.", "https://Ns.").replace("Endpoint", "endpoint"),
        HUB.replace(".net/", ".net:5671/"),
        HUB.replace(".net/", ".net:5671"),
        f"{NAMESPACE};{TOKEN}&skn=n",
        f"Endpoint=sb://localhost:5672;{HUB.partition(';')[2]};UseDevelopmentEmulator=True;",
    ],
)
def test_usual_hub_strings_are_accepted(text: str) -> None:
    """Azure's host reads each of them, and the SDK here reads the text that the parser returns."""
    found = EventHubsConnection.parse(text)
    host = EventHubConsumerClient.from_connection_string(
        found.text, "$Default", eventhub_name="events"
    )._address.hostname
    assert host.partition(":")[0] in {"ns.servicebus.windows.net", "localhost"}


REFUSED_STORAGE = [
    ("hush", "has no AccountName; it takes Default"),
    ("a=hush", "has no AccountName and no BlobEndpoint"),
    (f"BlobEndpoint=https://hush;{SAS}", "has no AccountName and no QueueEndpoint"),
    (f"QueueEndpoint=https://hush;{SAS}", "has no AccountName and no BlobEndpoint"),
    ("AccountName=hush", "has no AccountKey and no SharedAccessSignature"),
    ("AccountName=hush;AccountKey=", "has no AccountKey and no SharedAccessSignature"),
    ("AccountName=abc;AccountKey=hush!", "has an AccountKey that is not base64"),
    ("AccountName=abc;AccountKey=hushh", "has an AccountKey that is not base64"),
    (f"AccountName=Hush;AccountKey={KEY}", "has an AccountName that is not 3 to 24 lower-case"),
    (f"AccountName=hu;AccountKey={KEY}", "has an AccountName that is not 3 to 24 lower-case"),
    (f"AccountName=<hush>;AccountKey={KEY}", "has an AccountName that is not 3 to 24 lower-case"),
    (f"AccountName=abc; AccountKey={KEY}", "has a blank before or after the name of a part"),
    (f"{ACCOUNT};hush", "has a part without a value"),
    (f"{ACCOUNT};accountname=hush", "has two parts of the same name"),
    (f"{ACCOUNT};BlobEndpoint=hush", "BlobEndpoint that is no http"),
    (f"{ACCOUNT};BlobEndpoint=https://hush:99999", "BlobEndpoint that is no http"),
    (f"{ACCOUNT};QueueEndpoint=https://hu sh", "QueueEndpoint that is no http"),
    (f"{ACCOUNT};QueueEndpoint=https://u:hush@h", "QueueEndpoint that is no http"),
    (f"{ACCOUNT};BlobSecondaryEndpoint=hush", "but no BlobEndpoint"),
    (f"{ACCOUNT};EndpointSuffix=", "has an EndpointSuffix that is no domain"),
    (f"{ACCOUNT};EndpointSuffix=https://hush/", "has an EndpointSuffix that is no domain"),
    (f"{ACCOUNT};EndpointSuffix=blob.core.windows.net", "has an EndpointSuffix that is no domain"),
    (ACCOUNT.replace("https", "hush"), "has a DefaultEndpointsProtocol that is not http or https"),
    (f"{ACCOUNT};BlobEndpoint={QUEUE}", "BlobEndpoint that is the address of the queue service"),
    (f"{ACCOUNT};QueueEndpoint={QUEUE}/hush", "QueueEndpoint that has a path"),
    (f"{ACCOUNT.replace('abc', 'hush')};BlobEndpoint={BLOB}", "but names two accounts"),
    (
        f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE.replace('abc', 'hush')};{SAS}",
        "has the key or the signature of one account, but names two accounts",
    ),
    (f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=hush", "is no signature"),
    (f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=sv=1", "is no signature"),
    (f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};{SAS}&hush=1", "is no signature"),
    (
        f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=ss=b&sig=hush",
        r"is not valid for the queue service \(ss\)",
    ),
    (
        f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=ss=q&sig=hush",
        r"is not valid for the blob service \(ss\)",
    ),
    (
        f"BlobEndpoint={BLOB};QueueEndpoint={QUEUE};SharedAccessSignature=srt=c&sig=hush",
        r"is not valid for messages and blobs \(srt\)",
    ),
    (f"BlobEndpoint={BLOB}?sig=hush;QueueEndpoint={QUEUE}", "has no AccountKey and no Shared"),
    (
        f"BlobEndpoint={BLOB}?sig=hush;QueueEndpoint={QUEUE}?ss=b&sig=hush",
        r"QueueEndpoint that is not valid for the queue service",
    ),
    ("UseDevelopmentStorage=True", "has a UseDevelopmentStorage that is not true"),
    ("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://hush", "SDKs do not read"),
    (f'"{ACCOUNT};AccountName=hush', "is in quotation marks"),
    ("@Microsoft.KeyVault(SecretUri=https://hush)", "is a Key Vault reference"),
    (HUB.replace("=n;", "=hush;"), "has no AccountName and no BlobEndpoint"),
]
REFUSED_HUB = [
    ("hush", "has no Endpoint; it takes Endpoint=sb:"),
    ("@Microsoft.KeyVault(SecretUri=https://hush)", "is a Key Vault reference"),
    ("Endpoint=sb://hush", "has no SharedAccessKey;"),
    ("Endpoint=sb://x;SharedAccessKey=hush", "has no SharedAccessKeyName"),
    ("Endpoint=sb://x;SharedAccessKeyName=hush", "has no SharedAccessKey;"),
    (f"{HUB};ENDPOINT=hush", "has two parts of the same name"),
    (f"{HUB};hush=", "has a part without a name or without a value"),
    (f"{HUB};hush", "has a part without a value"),
    (HUB.replace("ns.", "hush:99999."), "has an Endpoint that is not sb://NAMESPACE"),
    (HUB.replace("ns.", "<hush>."), "has an Endpoint that is not sb://NAMESPACE"),
    (HUB.replace("ns.", "u:hush@ns."), "has an Endpoint that is not sb://NAMESPACE"),
    (HUB.replace("ns.", "hush ns."), "has an Endpoint that is not sb://NAMESPACE"),
    (f"{HUB};UseDevelopmentEmulator=hush", "has a UseDevelopmentEmulator that is not true or"),
    (f"{NAMESPACE};SharedAccessSignature=hush", "that is not SharedAccessSignature sr="),
    (f"{NAMESPACE};SharedAccessSignature=sr=x&sig=hush&se=1", "is not SharedAccessSignature sr="),
    (f"{HUB};{TOKEN}", "has both a SharedAccessKey and a SharedAccessSignature"),
    (f"'{HUB};EntityPath=hush", "is in quotation marks"),
    (f"AccountName=hush;AccountKey={KEY}", "has no Endpoint"),
]


@pytest.mark.parametrize(
    ("setting", "text", "says"),
    [
        *(("AzureWebJobsStorage", *case) for case in REFUSED_STORAGE),
        *(("BreakwaterStorage", *case) for case in REFUSED_STORAGE),
        *(("EventHubConnection", *case) for case in REFUSED_HUB),
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
    takes = "Endpoint=sb://" if setting == "EventHubConnection" else "DefaultEndpointsProtocol=http"
    assert f"; it takes {takes}" in str(caught.value)
    assert "hush" not in str(caught.value).lower()


@pytest.mark.parametrize(
    "text",
    [
        "ns.servicebus.windows.net",
        "NS.ServiceBus.Windows.net",
        " ns.servicebus.windows.net\n",
        "ns.servicebus.windows.net.",
        "sb://ns.servicebus.windows.net",
        "sb://NS.servicebus.windows.net/",
        "https://ns.servicebus.windows.net:5671/",
    ],
)
def test_namespace_is_read_as_azures_host_reads_it(text: str) -> None:
    """The host takes the host of an address with a scheme; the identity of the data follows."""
    found = ConnectionSettings.from_mapping(IDENTITY | {SETTING: text})
    assert found.namespace == found.identity.namespace == "ns.servicebus.windows.net"
    client = EventHubConsumerClient(found.namespace, "events", "$Default", credential=AZURE)
    assert client._address.hostname == "ns.servicebus.windows.net"


@pytest.mark.parametrize(
    "text",
    [
        "ns",
        "ns.servicebus.windows.net/",
        "ns.servicebus.windows.net:5671",
        "sb://ns.servicebus.windows.net:443/",
        "sb://ns.servicebus.windows.net/events",
        "sb://user@ns.servicebus.windows.net",
        "sb://",
        "ns..net",
        "two words.net",
        "<ns>.servicebus.windows.net",
        '"ns.servicebus.windows.net',
        "-",
    ],
)
def test_namespace_that_azures_host_cannot_use_is_refused(text: str) -> None:
    """The listener of the trigger would not start: the host takes a plain name or an address."""
    shown = re.escape(f"{text!r}")
    with pytest.raises(SettingsError, match=f"{SETTING} is {shown}; it takes NAMESPACE.*sb://"):
        ConnectionSettings.from_mapping(IDENTITY | {SETTING: text})


def test_connection_string_in_the_place_of_a_namespace_is_not_shown() -> None:
    """It has a key."""
    with pytest.raises(SettingsError, match=f"{SETTING} is a connection string; it") as caught:
        ConnectionSettings.from_mapping(IDENTITY | {SETTING: HUB.replace(KEY, "hush")})
    assert "hush" not in str(caught.value)
