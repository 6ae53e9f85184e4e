"""The search for a text in the index, with bounded work and a cursor to go on."""

from __future__ import annotations

import base64

from processing.poison.index.entry import Cause, IndexEntry
from processing.poison.index.index import PAGE_ENTRIES, Page, PoisonIndex

BODY_BYTES = 4 * 1024
"""Bytes of a body that a search looks at, from the beginning."""
MOST_SEARCHED = 2_000
"""Entries that one search looks at."""


async def search(
    index: PoisonIndex,
    text: str = "",
    *,
    cause: Cause | None = None,
    key: str | None = None,
    after: str | None = None,
    most: int = PAGE_ENTRIES,
    searched: int = MOST_SEARCHED,
) -> Page:
    """Return entries that contain a text, oldest first; see `contains`.

    Args:
        index: the index.
        text: the text; "": each entry contains it.
        cause: only entries of this cause; None: of each cause.
        key: only entries of this key, by partition; None: of each key.
        after: the cursor of an earlier page with the same other arguments.
        most: most entries to return.
        searched: most entries to look at, approximately. A page may be empty and still have a
            cursor.

    Raises:
        StorageUnavailableError: the index does not answer.
    """
    wanted = text.casefold()
    found: list[IndexEntry] = []
    while True:
        if key is None:
            page = await index.page(after, min(PAGE_ENTRIES, searched))
        else:
            page = await index.of_key(key, after, min(PAGE_ENTRIES, searched))
        for entry in page.entries:
            if (cause is None or entry.cause == cause) and contains(entry, wanted):
                found.append(entry)
                if len(found) == most:
                    is_last = page.after is None and entry is page.entries[-1]
                    place = entry.place if key is None else entry.place_in_key
                    return Page(found, None if is_last else place)
        searched -= PAGE_ENTRIES
        after = page.after
        if after is None or searched <= 0:
            return Page(found, after)


def contains(entry: IndexEntry, wanted: str) -> bool:
    """Return whether an entry contains a casefolded text.

    The id, the key, the handler, the error, the instance and the beginning of the body count.
    """
    message = entry.message
    texts = (
        *(message.id, message.key or "", message.handler, message.instance),
        *(message.error.type, message.error.message),
    )
    if any(wanted in text.casefold() for text in texts):
        return True
    body = base64.b64decode((message.body or "")[: BODY_BYTES // 3 * 4])
    return wanted in body.decode(errors="replace").casefold()
