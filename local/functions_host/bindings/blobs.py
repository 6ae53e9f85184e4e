"""Blob inputs and outputs."""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, BlobServiceClient

from local.functions_host.bindings.errors import BindingFailedError
from local.functions_host.bindings.expressions import Template
from local.functions_host.bindings.values import content
from local.functions_host.errors import AppLoadError
from local.functions_host.storage import QUICK_RETRIES
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from local.functions_host.app_settings import AppSettings
    from local.functions_host.bindings.expressions import Data

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class BlobBinding:
    """A blob input or output of one function."""

    def __init__(self, binding: dict[str, Any], function: str, settings: AppSettings) -> None:
        """Resolve the binding's settings.

        Raises:
            SettingsError: a setting or connection is not set.
            AppLoadError: the path has no container or no blob, or an expression that is not known;
                or the data type is one that the local host does not know.
        """
        where = f"function {function!r}"
        name = str(binding.get("connection") or "AzureWebJobsStorage")
        self._connection = settings.storage(name, where)
        self.template = Template(settings.expand(str(binding["path"]), where), where)
        _split(self.template.text, where)
        self._is_binary = _is_binary(binding, where)
        self._service: BlobServiceClient | None = None

    async def read(self, data: Data) -> Datum:
        """Return the blob as the binding's data type; no value if the blob does not exist.

        Raises:
            BindingFailedError: the path has no value, or storage did not answer.
        """
        try:
            download = await self._blob(data).download_blob()
            found: bytes = await download.readall()
        except ResourceNotFoundError:
            return Datum(None, None)
        except (AzureError, ValueError) as error:
            raise BindingFailedError(str(error)) from error
        return Datum(found, "bytes") if self._is_binary else Datum(_decode(found), "string")

    async def write(self, datum: Datum | None, data: Data) -> None:
        """Write or replace the blob; a missing container is created, as on Azure.

        Raises:
            BindingFailedError: the path has no value, storage did not take the blob, or the value
                has a type that a blob does not take.
        """
        body = content(datum)
        if body is None:
            return
        try:
            blob = self._blob(data)
            try:
                await blob.upload_blob(body, overwrite=True)
            except ResourceNotFoundError:
                await self._create_container(blob.container_name)
                await blob.upload_blob(body, overwrite=True)
        except (AzureError, ValueError) as error:
            raise BindingFailedError(str(error)) from error

    async def close(self) -> None:
        """Close the client."""
        service, self._service = self._service, None
        if service is not None:
            await service.close()

    def _client(self) -> BlobServiceClient:
        if self._service is None:
            self._service = BlobServiceClient.from_connection_string(
                self._connection, **QUICK_RETRIES
            )
        return self._service

    def _blob(self, data: Data) -> BlobClient:
        path = self.template.resolve(data)
        container, _, name = path.partition("/")
        if not container or not name:
            raise BindingFailedError(f"the path {path!r} is not <container>/<blob>")
        return self._client().get_blob_client(container, name)

    async def _create_container(self, name: str) -> None:
        with suppress(ResourceExistsError):
            await self._client().create_container(name)


def _split(path: str, where: str) -> None:
    container, _, name = path.partition("/")
    if not container or not name:
        raise AppLoadError(
            f"{where}: the blob path {path!r} takes <container>/<blob>, such as orders/{{id}}.json"
        )


def _is_binary(binding: dict[str, Any], where: str) -> bool:
    kind = str(binding.get("dataType") or "string").lower()
    if kind not in ("string", "binary", "undefined"):
        raise AppLoadError(
            f"{where}: the blob {binding['name']!r} has the data type {kind!r}; the local host "
            "takes string or binary"
        )
    return kind == "binary"


def _decode(data: bytes) -> str:
    """Return the text as a .NET reader returns it: UTF-8, or what a byte order mark says."""
    encoding = next((name for mark, name in _ENCODINGS if data.startswith(mark)), "utf-8")
    return data.decode(encoding, "replace")
