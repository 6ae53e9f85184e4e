"""The events that a redrive replays: the plan, and the messages of a key or an event."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Container, Iterable, Sequence

from processing.errors import StorageUnavailableError
from processing.identity import Identity
from processing.parking.event import position_of
from processing.parking.store import ParkingStore
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import refusal
from processing.poison.queue import oldest_first
from processing.poison.side_by_side import side_by_side
from processing.redrive.held_messages import HeldMessages
from processing.redrive.replaying import Replaying
from processing.redrive.runs import RedriveRuns
from processing.redrive.selection import Place, Plan, Selection, place_of, selects
from processing.redrive.summary import RedriveCounts

logger = logging.getLogger(__name__)


async def plan_of(
    selection: Selection,
    received: Iterable[PoisonMessage],
    store: ParkingStore,
    own: Identity,
    held: HeldMessages | None,
) -> Plan:
    """Return the plan of a redrive.

    Args:
        selection: the selection.
        received: the app's selected messages.
        store: the parked lists.
        own: the app.
        held: knows the selected messages of other apps; None: they are not known.

    Raises:
        OtherAppError: the selected event belongs to another app.
        StorageUnavailableError: the parked lists cannot be read.
    """
    messages = oldest_first(received)
    # After the messages: a parked event's list is written before its message.
    lists = {(each.source, each.key): each for each in await store.keys()}
    of_messages = {place_of(message, lists) for message in messages}
    loose = 0

    async def count_loose(message: PoisonMessage) -> None:
        nonlocal loose
        if await _is_loose(message, lists, store):
            loose += 1

    await side_by_side(messages, count_loose)
    others = {} if held is None else dict(held.of_others)
    plan = Plan(*(tuple(messages), {}), loose=loose, other_apps=others)
    for place, each in lists.items():
        if each.deferral is not None and not selection.is_named:
            plan.left_alone[place] = each.entries
        elif place in of_messages or await selects(selection, each, store):
            counts = plan.parked if each.deferral is None else plan.deferred
            counts[place] = each.entries
    other = None if held is None else held.other
    if selection.id is not None and other is not None and not plan.events:
        raise refusal(other, own)
    return plan


async def _is_loose(message: PoisonMessage, lists: Container[Place], store: ParkingStore) -> bool:
    place = place_of(message, lists)
    if place not in lists or message.parked:
        return place not in lists
    return await store.document(*place, position_of(message)) is None


async def selected_pages(
    index: PoisonIndex, selection: Selection
) -> AsyncIterator[Sequence[IndexEntry]]:
    """Return the selected entries of the index, page by page.

    Raises:
        StorageUnavailableError: the index did not answer.
    """
    if selection.id is not None:
        yield await index.of_id(selection.id)
        return
    after: str | None = None
    while True:
        if selection.key is not None:
            page = await index.of_key(selection.key, after)
        else:
            page = await index.page(after)
        yield page.entries
        if page.after is None:
            return
        after = page.after


async def take_named(
    index: PoisonIndex, selection: Selection, replaying: Replaying, runs: RedriveRuns | None
) -> Counter[Place] | None:
    """Hold the selected messages, or count those of each place if there are many.

    Returns:
        The number of messages of each place that is to be replayed page by page. None: a message
        cannot be taken, so the queue must be received.

    Raises:
        StorageUnavailableError: the queue or the index did not answer.
    """
    places: Counter[Place] = Counter()
    first: list[IndexEntry] = []
    most = replaying.run.reader.window.most
    async for entries in selected_pages(index, selection):
        places.update((each.source, each.message.key) for each in entries)
        if places.total() <= most:
            first += entries
    if places.total() > most:
        return places
    whole = [each for each in first if each.is_whole]
    _, refused = await replaying.take(whole)
    short = len(first) - len(whole)
    if not refused and not short:
        return Counter()
    if await someone_redrives_all(runs):  # it holds them, or will
        replaying.counts.held_elsewhere += refused + short
        replaying.give_up(places)
        return Counter()
    logger.info(
        "The redrive reads the whole poison queue: %d selected messages were received by others "
        "since the index was written, and %d are too long for the index",
        *(refused, short),
    )
    return None


async def count_held(
    index: PoisonIndex, selection: Selection, held: HeldMessages, counts: RedriveCounts
) -> None:
    """Count the selected entries whose messages were not received, because somebody holds them.

    Raises:
        StorageUnavailableError: the index did not answer.
    """
    async for entries in selected_pages(index, selection):
        counts.held_elsewhere += sum(not held.knows(each.name) for each in entries)


async def someone_redrives_all(runs: RedriveRuns | None) -> bool:
    """Return whether another redrive replays all events, and may hold the messages."""
    if runs is None:
        return False
    try:
        return any(each.is_of_all for each in await runs.running())
    except StorageUnavailableError:
        return False
