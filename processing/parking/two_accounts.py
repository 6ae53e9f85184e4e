"""Marks in two storage accounts, the app's and the host's.

An app that had one account keeps finding the marks that the app has stored in the host's account.
A write goes to the app's account and deletes the mark in the host's account.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from processing.identity import Source
from processing.parking.marks import (
    MarkConflictError,
    MarkStore,
    MarkUnreadableError,
    ParkingMark,
    StoredMark,
)


@dataclass(frozen=True, slots=True)
class _Versions:
    """The versions of a partition's mark in both accounts; "" stands for no mark."""

    app: str
    host: str

    @classmethod
    def parse(cls, etag: str | None) -> _Versions:
        app, _, host = (etag or "").partition(" ")
        return cls(app, host)

    def __str__(self) -> str:
        return f"{self.app} {self.host}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A mark, or unreadable content in its place, in one account.

    Attributes:
        etag: version of the mark, or of the unreadable content; "" without any.
    """

    mark: ParkingMark | None = None
    etag: str = ""
    error: MarkUnreadableError | None = None


class MarksOfTwo:
    """The marks of both accounts; see `MarkStore`.

    The two accounts cannot be changed in one step, so both can have a mark. Redis decides which
    instance may park events. The second mark was written by another instance, or by an app that
    had one account only.

    Args:
        app: the marks in the app's account.
        host: the marks in the host's account.
    """

    def __init__(self, app: MarkStore, host: MarkStore) -> None:
        self._app = app
        self._host = host

    async def read(self, source: Source) -> StoredMark | None:
        """See `MarkStore.read`."""
        app, host = await _look(self._app, source), await _look(self._host, source)
        if app == host:  # two names of one account
            host = _Found()
        versions = str(_Versions(app.etag, host.etag))
        if error := app.error or host.error:
            raise MarkUnreadableError(str(error), etag=versions, content=error.content)
        marks = [each.mark for each in (app, host) if each.mark is not None]
        return StoredMark(merged(marks), versions) if marks else None

    async def write(self, mark: ParkingMark, etag: str | None) -> StoredMark:
        """See `MarkStore.write`."""
        before = _Versions.parse(etag)
        if etag is None:
            await self._refuse_other(self._host, mark.source)
        stored = await self._app.write(mark, before.app or None)
        if before.host:
            await self._host.delete(mark.source, before.host)
        return StoredMark(mark, str(_Versions(stored.etag, "")))

    async def delete(self, source: Source, etag: str) -> None:
        """See `MarkStore.delete`."""
        versions = _Versions.parse(etag)
        if not versions.app:
            await self._refuse_other(self._app, source)
        if versions.host:
            await self._host.delete(source, versions.host)
        else:
            await self._refuse_other(self._host, source, known=versions.app)
        if versions.app:
            await self._app.delete(source, versions.app)

    async def record_drop(self, source: Source, name: str, record: str) -> None:
        """See `MarkStore.record_drop`."""
        await self._app.record_drop(source, name, record)

    async def _refuse_other(self, store: MarkStore, source: Source, *, known: str = "") -> None:
        if (await _look(store, source)).etag not in {"", known}:
            raise MarkConflictError(f"the mark of partition {source} has changed")


def merged(marks: list[ParkingMark]) -> ParkingMark:
    """Return the mark that counts: the one that was written last.

    Two marks with the same token stand for the same lists in Redis, so the lower bound counts.
    """
    last = max(marks, key=lambda mark: (mark.written_at, mark.owner))
    for each in marks:
        if each.token == last.token:
            last = replace(
                last,
                oldest=last.oldest.lowered(each.oldest),
                owner=max(last.owner, each.owner),
            )
    return last


async def _look(store: MarkStore, source: Source) -> _Found:
    try:
        stored = await store.read(source)
    except MarkUnreadableError as error:
        return _Found(etag=error.etag, error=error)
    return _Found() if stored is None else _Found(stored.mark, stored.etag)
