"""The storage accounts of an app: the host's, and the app's own.

The host keeps its checkpoints and leases in AzureWebJobsStorage. The app keeps the poison queue,
the claim checks and the marks in BreakwaterStorage; without that setting, also in
AzureWebJobsStorage. docs/adr/0030-two-storage-accounts.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from breaker.configuration.errors import nearest
from breaker.configuration.lookup import value_of
from breaker.configuration.platform_names import is_platform_name
from breaker.configuration.references import unresolved
from processing.connection_strings import ConnectionStringError, StorageConnection
from processing.endpoints import EndpointError, account_of, is_account
from processing.errors import MissingSettingError, SettingsError

HOST = "AzureWebJobsStorage"
APP = "BreakwaterStorage"

_ADDRESSES = ("accountName", "blobServiceUri", "queueServiceUri")
_CONNECTION_STRING = (
    "DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=core.windows.net"
)
_FORMS = {
    "": _CONNECTION_STRING,
    "accountName": "the name of a storage account",
    "blobServiceUri": "an address such as https://ACCOUNT.blob.core.windows.net",
    "queueServiceUri": "an address such as https://ACCOUNT.queue.core.windows.net",
    "tableServiceUri": "an address such as https://ACCOUNT.table.core.windows.net",
    "credential": "managedidentity",
    "clientId": "the client id of a user-assigned identity",
}
_PARTS = tuple(part for part in _FORMS if part)
_TAKES = (
    "it takes a connection string, or set {0}__accountName, or {0}__queueServiceUri and "
    "{0}__blobServiceUri, to use an identity"
)


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """The addresses and the credential of a storage account; `repr` does not show secrets.

    Attributes:
        connection: connection string; "": sign in with an identity.
        blob, queue: endpoints of the services, without a signature.
        client_id: client id of a user-assigned identity; "": the system-assigned identity.
    """

    connection: str = field(repr=False)
    blob: str
    queue: str
    client_id: str

    def has_queues_of(self, other: StorageAccount) -> bool:
        """Return whether both have the same queue service, whatever the credential."""
        return self.queue == other.queue

    def has_blobs_of(self, other: StorageAccount) -> bool:
        """Return whether both have the same blob service, whatever the credential."""
        return self.blob == other.blob


def host_account(settings: Mapping[str, str]) -> StorageAccount:
    """Return the account of AzureWebJobsStorage.

    A connection string wins over addresses, as in the host.

    Raises:
        MissingSettingError: the setting is missing.
        SettingsError: the setting is incomplete or unusable.
    """
    values = _values(settings, HOST)
    account = _account(values, HOST)
    if account is None:
        # With one of two addresses the setting is incomplete, and not left out on purpose.
        error = SettingsError if set(_ADDRESSES) & set(values) else MissingSettingError
        raise error(f"the app setting {HOST} is missing; {_TAKES.format(HOST)}{_meant(settings)}")
    return account


def app_account(settings: Mapping[str, str], host: StorageAccount) -> StorageAccount:
    """Return the account of BreakwaterStorage; without that setting, the host's account.

    Raises:
        SettingsError: the setting is incomplete or unusable, has a connection string and addresses,
            or one of its names is unknown.
    """
    _check_names(settings)
    values = _values(settings, APP)
    if not values:
        return host
    addresses = [name for name in _ADDRESSES if name in values]
    if "" in values and len(values) > 1:
        other = next(name for name in values if name)
        raise SettingsError(
            f"the app settings {APP} and {APP}__{other} are both set; {_TAKES.format(APP)}"
        )
    if values.get("credential", "managedidentity").lower() != "managedidentity":
        raise SettingsError(
            f"the app setting {APP}__credential is {values['credential']!r:.100}; it takes "
            "managedidentity"
        )
    account = _account({"clientId": host.client_id} | values, APP)
    if account is None:
        found = (addresses or list(values))[0]
        raise SettingsError(
            f"the app setting {APP}__{found} does not name an account; {_TAKES.format(APP)}"
        )
    return account


def _values(settings: Mapping[str, str], setting: str) -> dict[str, str]:
    """Return the values of a connection that are not empty; "" is the connection string."""
    found = {}
    for part, takes in _FORMS.items():
        name = f"{setting}__{part}" if part else setting
        if value := value_of(settings, name):
            if problem := unresolved(value):
                raise SettingsError(f"the app setting {name} {problem}; it takes {takes}")
            found[part] = value
    return found


def _account(values: Mapping[str, str], setting: str) -> StorageAccount | None:
    """Return the account that the values name; None: they name none, or only one service."""
    client_id = values.get("clientId", "")
    if connection := values.get(""):
        try:
            parsed = StorageConnection.parse(connection)
        except ConnectionStringError as error:
            raise SettingsError(
                f"the app setting {setting} {error}; it takes {_CONNECTION_STRING}"
            ) from None
        return StorageAccount(parsed.text, _plain(parsed.blob), _plain(parsed.queue), client_id)
    name = _account_name(values, setting)
    blob = _address(values, setting, "blob", name)
    queue = _address(values, setting, "queue", name)
    return StorageAccount("", blob, queue, client_id) if blob and queue else None


def _account_name(values: Mapping[str, str], setting: str) -> str:
    name = values.get("accountName", "")
    if name and not is_account(name.lower()):
        raise SettingsError(
            f"the app setting {setting}__accountName is {_shown(name)}; it takes the name of a "
            "storage account, 3 to 24 letters and digits"
        )
    return name.lower()


def _address(values: Mapping[str, str], setting: str, service: str, name: str) -> str:
    """Return a service's address: the given one, or that of the account's name; "" for none."""
    given = values.get(f"{service}ServiceUri")
    if given is None:
        return f"https://{name}.{service}.core.windows.net" if name else ""
    refusal = SettingsError(
        f"the app setting {setting}__{service}ServiceUri is {_shown(given)}; it takes an address "
        f"such as https://ACCOUNT.{service}.core.windows.net, without a signature"
    )
    try:
        parts = urlsplit(given)
        account = account_of(given, service)
    except (EndpointError, ValueError):
        raise refusal from None
    if parts.scheme != "https" or parts.query:  # a token is only sent over https
        raise refusal
    if name and account and account != name:
        raise SettingsError(
            f"the app settings {setting}__accountName and {setting}__{service}ServiceUri name "
            f"two accounts, {name!r} and {account!r}; both must name the same one"
        )
    return _plain(given)


def _meant(settings: Mapping[str, str]) -> str:
    """Return a question for a setting whose name looks like a part of the host's connection."""
    known = [f"{HOST}__{part}" for part in _PARTS]
    for name in sorted(settings):
        is_known = name.lower() in map(str.lower, known)
        if name.lower().startswith(f"{HOST}__".lower()) and not is_known:
            return f"; for {name}, did you mean {nearest(name, known)}?"
    return ""


def _check_names(settings: Mapping[str, str]) -> None:
    """Refuse a mistyped name, which would leave the data in the host's account."""
    known = [APP, *(f"{APP}__{part}" for part in _PARTS)]
    for name in settings:
        if name in known or is_platform_name(name, settings[name]):
            continue
        if name.lower().startswith(APP.lower()):
            raise SettingsError(f"unknown setting {name}: did you mean {nearest(name, known)}?")


def _shown(value: str) -> str:
    """Return a value for a message, without anything that may be a secret."""
    if len(value) > 100 or set(value) & set("=;?@"):
        return "a text that is not shown"
    return repr(value)


def _plain(address: str) -> str:
    """Return an address in one spelling, without its query."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"
