"""The running redrives of an app in Redis: one hash, from the redrive's token to its progress."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from breaker.stores.redis import FAILURES, PatientTimeout, explained
from processing.errors import StorageUnavailableError
from processing.formats.keys import redrives_key
from processing.identity import Identity
from processing.redrive.run_store import RUN_SECONDS, RunningRedrive, in_order, running_error

_SCRIPTS = Path(__file__).parent / "scripts"


class RedisRunStore:
    """A store of running redrives in Redis; see `RunStore`.

    Args:
        client: a redis.asyncio client; the caller closes it.
        identity: the app.
        timeout_seconds: timeout of each call; None: a call ends when the client has made all its
            retries.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        identity: Identity,
        *,
        timeout_seconds: float | None = None,
    ) -> None:
        self._client: Any = client
        self._key = redrives_key(identity)
        self._timeout = timeout_seconds
        self._begin: Any = client.register_script((_SCRIPTS / "begin_run.lua").read_text())
        self._runs: Any = client.register_script((_SCRIPTS / "runs.lua").read_text())

    async def begin(self, token: str, run: RunningRedrive) -> RunningRedrive:
        """See `RunStore.begin`."""
        began_ms, *other = await self._write(token, run, 0, is_exclusive=run.is_of_all)
        if not other:
            return replace(run, since=int(began_ms) / 1000)
        unknown = RunningRedrive("an operator", since=int(began_ms) / 1000)
        raise running_error(next(_parsed([began_ms, *other]), unknown))

    async def renew(self, token: str, run: RunningRedrive) -> None:
        """See `RunStore.renew`."""
        await self._write(token, run, int(run.since * 1000), is_exclusive=False)

    async def end(self, token: str) -> None:
        """See `RunStore.end`."""
        await self._reply(self._client.hdel(self._key, token))

    async def running(self) -> list[RunningRedrive]:
        """See `RunStore.running`."""
        return in_order(_parsed(await self._reply(self._runs(keys=[self._key], args=[]))))

    async def _write(
        self, token: str, run: RunningRedrive, began_ms: int, *, is_exclusive: bool
    ) -> Sequence[Any]:
        flags = [int(run.is_of_all), int(is_exclusive)]
        args = [token, run.to_json(), *flags, int(RUN_SECONDS * 1000), began_ms]
        found: Sequence[Any] = await self._reply(self._begin(keys=[self._key], args=args))
        return found

    async def _reply(self, command: Awaitable[Any]) -> Any:
        try:
            async with PatientTimeout(self._timeout):
                return await command
        except FAILURES as error:
            raise StorageUnavailableError(f"running redrives: {explained(error)}") from error


def _parsed(reply: Sequence[Any]) -> Iterator[RunningRedrive]:
    for since, document in zip(reply[::2], reply[1::2], strict=True):
        with suppress(ValueError):  # of a newer version of the app
            yield RunningRedrive.from_json(bytes(document).decode(), int(since) / 1000)
