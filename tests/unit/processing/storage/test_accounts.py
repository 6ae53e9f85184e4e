"""The two storage accounts of an app, read from its settings."""

from __future__ import annotations

import pytest

from processing.errors import SettingsError
from processing.settings import ConnectionSettings
from processing.storage.accounts import StorageAccount

CONNECTION = "DefaultEndpointsProtocol=https;AccountName=hostdata;AccountKey=aHVzaA=="
OWN = CONNECTION.replace("hostdata", "appdata")
ELSE = {
    "EventHubConnection": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=k",
    "EVENT_HUB_NAME": "events",
    "REDIS_URL": "redis://h",
}
HOST = {"AzureWebJobsStorage": CONNECTION}


def account(name: str, connection: str = "", client_id: str = "") -> StorageAccount:
    blob, queue = (f"https://{name}.{service}.core.windows.net" for service in ("blob", "queue"))
    return StorageAccount(connection, blob, queue, client_id)


def read(settings: dict[str, str]) -> ConnectionSettings:
    return ConnectionSettings.from_mapping(ELSE | settings)


def own(**parts: str) -> dict[str, str]:
    """Return settings of BreakwaterStorage beside a connection string for the host."""
    return HOST | {f"BreakwaterStorage__{part}": value for part, value in parts.items()}


def test_service_link_is_no_setting() -> None:
    """A Kubernetes service may be named as the account."""
    links = {"BREAKWATERSTORAGE_SERVICE_HOST": "10.0.0.1", "BREAKWATERSTORAGE_PORT_80_TCP": "x"}
    assert read(HOST | links) == read(HOST)


@pytest.mark.parametrize("setting", ["AzureWebJobsStorage", "BreakwaterStorage"])
@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"": CONNECTION}, account("hostdata", CONNECTION)),
        ({"__accountName": "appdata"}, account("appdata")),
        ({"__accountName": " AppData "}, account("appdata")),
        (
            {
                "__blobServiceUri": "https://appdata.blob.core.windows.net/",
                "__queueServiceUri": "https://APPDATA.queue.core.windows.net",
                "__credential": "managedidentity",
                "__clientId": "id",
            },
            account("appdata", client_id="id"),
        ),
        (
            {
                "__accountName": "appdata",
                "__blobServiceUri": "https://appdata.blob.core.windows.net",
                "__queueServiceUri": "https://appdata.queue.core.windows.net",
                "__tableServiceUri": "https://appdata.table.core.windows.net",
            },
            account("appdata"),
        ),
        (
            {
                "__accountName": "appdata",
                "__blobServiceUri": "https://appdata.privatelink.blob.core.windows.net",
            },
            StorageAccount(
                "",
                "https://appdata.privatelink.blob.core.windows.net",
                "https://appdata.queue.core.windows.net",
                "",
            ),
        ),
        (
            {
                "__blobServiceUri": "https://127.0.0.1:1/appdata",
                "__queueServiceUri": "https://127.0.0.1:2/appdata/",
            },
            StorageAccount("", "https://127.0.0.1:1/appdata", "https://127.0.0.1:2/appdata", ""),
        ),
    ],
)
def test_both_connections_take_the_same_forms(
    setting: str, form: dict[str, str], expected: StorageAccount
) -> None:
    """Microsoft documents the forms for the connections of the host."""
    settings = {setting + name: value for name, value in form.items()}
    if setting == "AzureWebJobsStorage":
        assert read(settings).host_storage == expected
        assert read(settings).app_storage == expected
    else:
        found = read(HOST | settings)
        assert found.host_storage == account("hostdata", CONNECTION)
        assert found.app_storage == expected


def test_host_account_is_also_the_apps_without_a_setting() -> None:
    """Nothing changes for an app with one account; an empty value is no value."""
    found = read(HOST | {"BreakwaterStorage": " ", "BreakwaterStorage__accountName": ""})
    assert found.app_storage == found.host_storage == account("hostdata", CONNECTION)


def test_identity_of_the_host_is_also_the_apps_without_a_client_id() -> None:
    """A system-assigned identity that nobody gave rights would be a late surprise."""
    host = {"AzureWebJobsStorage__accountName": "hostdata", "AzureWebJobsStorage__clientId": "id"}
    found = read(host | {"BreakwaterStorage__accountName": "appdata"})
    assert found.app_storage.client_id == "id"
    found = read(
        host | {"BreakwaterStorage__accountName": "a2b", "BreakwaterStorage__clientId": "x"}
    )
    assert (found.host_storage.client_id, found.app_storage.client_id) == ("id", "x")


def test_account_under_another_credential_is_the_same_account() -> None:
    """A second look into the same queue would only cost requests."""
    found = read(own(accountName="hostdata"))
    assert found.app_storage.has_queues_of(found.host_storage)
    assert found.app_storage.has_blobs_of(found.host_storage)
    found = read(own(accountName="appdata"))
    assert not found.app_storage.has_queues_of(found.host_storage)
    assert not found.app_storage.has_blobs_of(found.host_storage)


BLOB, QUEUE = "https://a1b.blob.core.windows.net", "https://a1b.queue.core.windows.net"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            HOST | {"BreakwaterStorage": "hush"},
            "BreakwaterStorage has no AccountName; it takes Def",
        ),
        (HOST | {"BreakwaterStorage": f"{OWN};hush"}, "BreakwaterStorage has a part without"),
        (
            HOST | {"BreakwaterStorage": "@Microsoft.KeyVault(SecretUri=https://hush)"},
            "BreakwaterStorage is a Key Vault reference that the platform did not resolve",
        ),
        (own(blobServiceUri=BLOB), "__blobServiceUri does not name an account; it takes a conn"),
        (own(queueServiceUri=QUEUE), "__queueServiceUri does not name an account"),
        (own(clientId="id"), "BreakwaterStorage__clientId does not name an account"),
        (own(tableServiceUri="https://a"), "__tableServiceUri does not name an account"),
        (
            own(accountName="a1b") | {"BreakwaterStorage": OWN},
            "BreakwaterStorage and BreakwaterStorage__accountName are both set",
        ),
        (
            own(clientId="id") | {"BreakwaterStorage": OWN},
            "BreakwaterStorage and BreakwaterStorage__clientId are both set",
        ),
        (own(accountName="ab"), "__accountName is 'ab'; it takes the name of a storage account"),
        (own(accountName="a.blob"), "__accountName is 'a.blob'; it takes the name"),
        (own(accountName="@Microsoft.KeyVault(hush)"), "accountName is a Key Vault reference that"),
        (own(accountName=OWN), "accountName is a text that is not shown"),
        (
            own(blobServiceUri="hush;", queueServiceUri=QUEUE),
            "blobServiceUri is a text that is not",
        ),
        (own(blobServiceUri="a1b", queueServiceUri=QUEUE), "is 'a1b'; it takes an address such as"),
        (own(blobServiceUri="http://[", queueServiceUri=QUEUE), "blobServiceUri is 'http://\\['"),
        (own(blobServiceUri=f"{BLOB}?sig=hush", queueServiceUri=QUEUE), "without a signature"),
        (own(blobServiceUri=QUEUE, queueServiceUri=QUEUE), "blobServiceUri is 'https://a1b.queue"),
        (own(accountName="other", blobServiceUri=BLOB), "name two accounts, 'other' and 'a1b'"),
        (own(accountName="a1b", credential="key"), "__credential is 'key'; it takes managedident"),
        (own(accountname="a1b"), "unknown setting .*__accountname: did you mean .*accountName"),
        (own(blobServiceUrl=BLOB), "unknown setting .*blobServiceUrl: did you mean .*ServiceUri"),
        (HOST | {"BREAKWATERSTORAGE": OWN}, "unknown setting .*did you mean BreakwaterStorage"),
        (
            {"AzureWebJobsStorage__blobServiceUri": BLOB},
            "AzureWebJobsStorage is missing; it takes a connection string, or set",
        ),
        ({"AzureWebJobsStorage__accountName": "a"}, "AzureWebJobsStorage__accountName is 'a'"),
        (
            {
                "AzureWebJobsStorage__blobServiceUri": "@Microsoft.KeyVault(hush)",
                "AzureWebJobsStorage__queueServiceUri": QUEUE,
            },
            "AzureWebJobsStorage__blobServiceUri is a Key Vault reference",
        ),
    ],
)
def test_unusable_account_is_refused_by_name(settings: dict[str, str], says: str) -> None:
    """The message says what is accepted, and quotes nothing that may be a secret."""
    with pytest.raises(SettingsError, match=says) as caught:
        read(settings)
    assert "hush" not in str(caught.value)
    assert "aHVzaA" not in str(caught.value)


def test_repr_contains_no_secret() -> None:
    """The settings may be logged; the endpoints show which accounts they name."""
    signed = (
        "BlobEndpoint=https://appdata.blob.core.windows.net/?sig=aHVzaA;QueueEndpoint=https://q"
    )
    found = repr(read(HOST | {"BreakwaterStorage": f"{signed};SharedAccessSignature=sig=aHVzaA"}))
    assert "aHVzaA" not in found
    assert "https://appdata.blob.core.windows.net" in found
