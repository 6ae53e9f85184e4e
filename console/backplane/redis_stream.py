"""The backplane as a Redis stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster

from console.backplane.coordination import READER
from console.backplane.keys import tag_of
from console.backplane.redis_errors import ask
from console.backplane.stream import LOG, Document, Message, encode
from console.errors import BackplaneError, NotReaderError

_SCRIPTS = Path(__file__).parent / "scripts"
WAIT_MS = 1_000  # less than the client's limit for one command
LIFETIME_SECONDS = 30 * 86_400


class RedisBackplane:
    """Backplane in two Redis streams: all messages, and a copy of the log's lines.

    Args:
        client: Redis client, which the caller closes.
        circuit: the circuit's name.
        app: names the app, see `tag_of`; lines that an older version wrote without an app are read.
        most: number of messages to keep, approximately.
        most_lines: number of log lines to keep, approximately.
        timeout_seconds: limit of `publish`, retries of the client included. Reads have no limit,
            because a full stream takes long to read and no caller waits for the result.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        circuit: str,
        *,
        app: str = "",
        most: int = 20_000,
        most_lines: int = 1_000,
        timeout_seconds: float = 2.0,
    ) -> None:
        self._client: Any = client  # redis-py's annotations know no stream replies
        tag = tag_of(circuit, app)
        self._live, self._lines = f"{tag}:live", f"{tag}:log"
        self._keys = [self._live, self._lines, f"{tag}:{READER}"]
        self._earlier_lines = f"{tag_of(circuit, '')}:log" if app else None
        self._limits = [most, most_lines, LIFETIME_SECONDS]
        self._timeout = timeout_seconds
        self._publish = client.register_script((_SCRIPTS / "publish.lua").read_text("utf-8"))

    async def publish(
        self, messages: Sequence[tuple[str, Document]], *, reader: str = ""
    ) -> list[str]:
        """See `Backplane.publish`."""
        arguments: list[str | int] = [reader, *self._limits]
        for kind, data in messages:
            arguments += [kind, encode(data), "1" if kind == LOG else "0"]
        ids = await ask(self._publish(self._keys, arguments), _not_published, self._timeout)
        if ids is None:
            raise NotReaderError
        return [_text(each) for each in ids]

    async def read(self, after: str, count: int) -> list[Message]:
        """See `Backplane.read`."""
        found = await ask(
            self._client.xread({self._live: after}, count=count, block=WAIT_MS), _not_read
        )
        if not found:
            return []
        # RESP2 returns a list of streams, RESP3 a map; the entries have the same form.
        entries = next(iter(found.values()))[0] if isinstance(found, dict) else found[0][1]
        return [_message(entry) for entry in entries]

    async def has(self, cursor: str) -> bool:
        """See `Backplane.has`."""
        return bool(await ask(self._client.xrange(self._live, cursor, cursor), _not_read))

    async def latest(self, count: int) -> list[Message]:
        """See `Backplane.latest`."""
        return await self._backwards(self._live, "+", count)

    async def log(self, before: str, count: int) -> list[Message]:
        """See `Backplane.log`."""
        found = await self._backwards(self._lines, f"({before}", count)
        if self._earlier_lines is None or len(found) >= count:
            return found
        before = found[0].cursor if found else before
        older = await self._backwards(self._earlier_lines, f"({before}", count - len(found))
        return older + found

    async def _backwards(self, key: str, end: str, count: int) -> list[Message]:
        found = await ask(self._client.xrevrange(key, max=end, count=count), _not_read)
        return [_message(entry) for entry in reversed(found)]


def _message(entry: tuple[Any, dict[Any, Any]]) -> Message:
    cursor, fields = entry
    return Message(_text(cursor), _text(fields[b"kind"]), _text(fields[b"data"]))


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _not_published(why: str) -> BackplaneError:
    return BackplaneError(f"cannot publish to the backplane: {why}")


def _not_read(why: str) -> BackplaneError:
    return BackplaneError(f"cannot read the backplane: {why}")
