"""Every accepted value of a connection's setting builds a client that can send requests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from azure.storage.blob.aio import ContainerClient
from azure.storage.queue.aio import QueueClient
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from breaker.configuration.errors import ConfigurationError
from breaker.configuration.hosts import is_server
from processing.bootstrap import Application
from processing.wiring import Wiring

KEY = "a2V5"
SIGNED = "SharedAccessSignature=sv=1&ss=bq&sig=x"
HUB = f"Endpoint=sb://ns.net/;SharedAccessKeyName=n;SharedAccessKey={KEY}"
USABLE = {
    "AzureWebJobsStorage": f"AccountName=account;AccountKey={KEY}",
    "EventHubConnection": HUB,
    "EVENT_HUB_NAME": "events",
    "EVENT_HUB_CONSUMER_GROUP": "$Default",
    "REDIS_URL": "redis://h",
}
NAMESPACE = "EventHubConnection__fullyQualifiedNamespace"


def forms(setting: str, *values: str) -> st.SearchStrategy[dict[str, str]]:
    return st.sampled_from(values).map(lambda value: {setting: value})


def storage(setting: str) -> st.SearchStrategy[dict[str, str]]:
    """Return settings of one storage account, right and wrong."""
    addresses = st.tuples(
        forms(
            f"{setting}__blobServiceUri",
            *("https://abc.blob.core.windows.net/", "HTTPS://b.invalid", "https://127.0.0.1:1/abc"),
            *("http://b.invalid", "https://abc.queue.core.windows.net", "b.invalid", "https://["),
        ),
        forms(
            f"{setting}__queueServiceUri",
            *("https://abc.queue.core.windows.net", "https://q.invalid:443/", "https://q.invalid"),
            *("https://q:99999", "https://abc.queue.core.windows.net/poison", "https://q?sig=x"),
        ),
    ).map(lambda both: {setting: ""} | both[0] | both[1])
    account = forms(f"{setting}__accountName", "abc", "ABC1", "a-b", "ab", "abc.blob").map(
        lambda found: {setting: ""} | found
    )
    text = forms(
        setting,
        *(f"AccountName=abc;AccountKey={KEY};;", f"AccountName=abc;AccountKey={KEY}\n"),
        *("UseDevelopmentStorage=true;", "UseDevelopmentStorage=True", "hush", "AccountName=abc"),
        *(f"AccountName=abc;AccountKey={each}" for each in ("a", " a2V5 ", "a2V5a2V5", "")),
        *(f"BlobEndpoint=https://b;QueueEndpoint={each};{SIGNED}" for each in ("https://q", "q")),
        f"BlobEndpoint=https://b;QueueEndpoint=https://q;{SIGNED.replace('bq', 'b')}",
        "BlobEndpoint=https://b?sig=x;QueueEndpoint=https://q?sig=x&ss=q",
        f"'AccountName=abc;AccountKey={KEY}'",
    )
    return st.one_of(text, account, addresses)


hubs = st.one_of(
    forms(
        "EventHubConnection",
        *(
            HUB,
            HUB.replace(";", " ; "),
            HUB.replace("sb://", ""),
            f'"{HUB}"',
            f"{HUB};EntityPath=events",
        ),
        *(HUB.replace("ns.net", each) for each in ("NS.net:5671", "ns.net:0", "n s", "[::1]")),
        HUB.rpartition(";")[0],
        "Endpoint=sb://ns.net;SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1",
    ),
    forms(
        NAMESPACE,
        *(
            "ns.net",
            "sb://NS.net/",
            "https://ns.net:5671",
            "ns.net/",
            "ns.net:1",
            "ns",
            " ns.net. ",
        ),
    ).map(lambda found: {"EventHubConnection": ""} | found),
)
names = st.one_of(
    forms("POISON_QUEUE", "", "abc", "a-b", "a--b", "A", "a" * 63, "a" * 64),
    forms("EVENT_HUB_NAME", "events", "Events", "e/x"),
    forms("EVENT_HUB_CONSUMER_GROUP", "$default", "g.1", "g/x"),
)
redis = st.tuples(
    forms(
        "REDIS_URL",
        *("redis://h", " rediss://u:p@h:1/0\n", "redis://h/1", "redis://h/x", "unix:///s", "h:1"),
        *("redis://h?socket_timeout=1&client_name=x", "redis://h?client_name=a%20b", "redis://"),
        *("redis://h?protocol=3&max_connections=4", "redis://h?decode_responses=1"),
    ),
    forms("BREAKER_REDIS_CLUSTER", "", "true"),
    forms("BREAKER_REDIS_AUTH", "", "entra"),
).map(lambda parts: parts[0] | parts[1] | parts[2])


def merged(*parts: dict[str, str]) -> dict[str, str]:
    found = dict(USABLE)
    for part in parts:
        found |= part
    return found


@settings(max_examples=100)
@given(
    st.one_of(
        st.builds(merged, storage("AzureWebJobsStorage")),
        st.builds(merged, storage("BreakwaterStorage")),
        st.builds(merged, hubs),
        st.builds(merged, redis),
        st.builds(merged, storage("AzureWebJobsStorage"), hubs, names, redis),
    )
)
@example(USABLE)
@example(
    USABLE
    | {
        "AzureWebJobsStorage": "",
        "AzureWebJobsStorage__blobServiceUri": "http://b.invalid",
        "AzureWebJobsStorage__queueServiceUri": "https://q.invalid",
    }
)
@example(USABLE | {"BreakwaterStorage__accountName": "abc", "POISON_QUEUE": "abc"})
def test_accepted_settings_build_clients(found: dict[str, str]) -> None:
    """The first event can use each setting that the start accepts."""
    try:
        Application(found).check()
    except ConfigurationError:
        event("refused")
        return
    event("accepted")
    asyncio.run(build(found))


async def build(found: dict[str, str]) -> None:
    """Build the clients as the app does, and look at where they would send their requests."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(found, opened)
        connections = wiring.connections
        clients: list[QueueClient | ContainerClient] = []
        for account in (connections.host_storage, connections.app_storage):
            clients += [
                await wiring._storage.queue(account, connections.poison_queue),
                await wiring._storage.container(account, connections.poison_queue),
            ]
        for client in clients:
            parts = urlsplit(client.url)
            assert is_server(parts)
            assert parts.path.endswith(f"/{connections.poison_queue}")
            assert client.credential is not None or "sig=" in client.url
        hub = await wiring.hub()
        assert is_server(urlsplit(f"//{hub._address.hostname}"))
        assert hub._address.path == f"/{connections.event_hub_name}"
        assert wiring.redis is not None
