"""`breakwater parked list|poison-head|drop-mark`."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from breaker.configuration.command_line import (
    CommandGroup,
    WholeNumber,
    confirmed,
    json_option,
    say_error,
    yes_option,
)
from breaker.configuration.pipeline_option import (
    choice,
    need_one,
    on_all_pipelines,
    on_one_pipeline,
    show_each,
)
from breaker.configuration.pipelines import Pipeline
from processing.cli.moved import say_moved
from processing.cli.options import CODES, by_option, command, reason_option
from processing.cli.output import Pages, in_seconds, printable, short_id, show_key, when
from processing.event import enqueued_time
from processing.formats import json_text
from processing.formats.event_fields import key_hash
from processing.identity import Source
from processing.operations import open_marks, open_parking, open_poison_head
from processing.parking.marks import MarkUnreadableError, drop_mark
from processing.redrive.listing import PAGE_KEYS, KeyListing, ListedKey
from processing.redrive.poison_head import Head

logger = logging.getLogger(__name__)

HEADINGS = (
    *("partition", "key", "state", "since", "reason", "dependency", "attempts", "next try"),
    *("behind", "last error"),
)
WAITS = "waits for an operator"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The keys that an operator asks for; `dependency` is "" for those of all dependencies."""

    partition: str | None
    dependency: str
    limit: int
    after: str | None


@click.command("list", short_help="List parked and deferred keys, oldest first.")
@on_all_pipelines
@click.option("--partition", metavar="P", help="List only the keys of this partition.")
@click.option("--dependency", metavar="NAME", help="List only keys that wait for this dependency.")
@click.option(
    "--limit",
    type=WholeNumber(1),
    default=sys.maxsize,
    metavar="N",
    help="List at most N keys (default: all keys, page by page).",
)
@click.option(
    "--after", metavar="PLACE", help="Continue at the place that an earlier list has named."
)
@json_option
@command
async def list_keys(
    pipelines: Sequence[Pipeline],
    *,
    partition: str | None,
    dependency: str | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> int:
    """List parked and deferred keys, oldest first: why each key waits, and its next try.

    Several pipelines are shown one after another; each JSON object then names its pipeline.
    """
    need_one(pipelines, partition=partition is not None, after=after is not None)
    wanted = _Wanted(partition, (dependency or "").lower(), limit, after)

    async def show(pipeline: Pipeline) -> int:
        named = {"pipeline": pipeline.name} if len(pipelines) > 1 else {}
        await _list_keys(pipeline, wanted, named, as_json=as_json)
        return 0

    return await show_each(pipelines, show, codes=CODES, headings=not as_json)


async def _list_keys(
    pipeline: Pipeline, wanted: _Wanted, named: Mapping[str, str], *, as_json: bool
) -> None:
    after, shown, pages = wanted.after, 0, Pages(HEADINGS)
    async with open_parking(pipeline.settings) as lists:
        listing = await KeyListing.read(lists.store, wanted.partition)
        while shown < wanted.limit:
            most = min(PAGE_KEYS, wanted.limit - shown)
            found = await listing.page(after, most, dependency=wanted.dependency)
            if found.keys:
                now = await lists.now()
                lines = [json_text.dumps({**named, **document(each, now)}) for each in found.keys]
                print("\n".join(lines) if as_json else pages.page(_rows(found.keys, now)))
            shown, after = shown + len(found.keys), found.after
            if after is None:
                break
        await say_moved(lists)
    if after is not None:
        print(
            f"{shown:,} of {listing.total:,} keys are shown; continue with "
            f"{choice(pipeline)}--after {shlex.quote(after)}",
            file=sys.stderr,
        )
    elif not shown and not as_json and wanted.after is None:
        place = "" if wanted.partition is None else f" in partition {wanted.partition}"
        need = wanted.dependency
        print(f"No parked keys{place}" + (f" wait for dependency {need}" if need else ""))


def _rows(keys: Iterable[ListedKey], now: float) -> list[tuple[object, ...]]:
    return [row(each, now) for each in keys]


@click.command("poison-head", short_help="Poison the event that keeps its partition.")
@click.argument("partition", metavar="PARTITION")
@on_one_pipeline
@yes_option
@by_option("the log line")
@json_option
@command
async def poison_head(
    pipeline: Pipeline, *, partition: str, yes: bool, by: str, as_json: bool
) -> int:
    """Poison the first unfinished event of a partition at its next attempt.

    The partition then continues. PARTITION is the id of the partition, such as 0.
    """
    async with open_poison_head(pipeline.settings) as heads:
        head = await heads.find(partition)
        print(_head_text(head), file=sys.stderr if as_json else sys.stdout)
        if not confirmed("Poison this event?", yes=yes):
            print("Nothing was changed", file=sys.stderr)
            return 1
        await heads.poison(head)
    logger.warning(
        "Event %s (key hash %s): %s decided to poison the event; the owner of partition %s moves "
        "it to the poison queue at its next attempt",
        *(head.id, key_hash(head.key) or "none", by, partition),
    )
    if as_json:
        print(json.dumps({"partition": partition, "id": head.id, "key": head.key, "by": by}))
    else:
        print("See `breakwater poison list` in a minute; the event is listed there.")
    return 0


@click.command("drop-mark", short_help="Give up parked events that Redis has lost.")
@click.argument("partition", metavar="PARTITION")
@on_one_pipeline
@reason_option("the record", required=True)
@by_option("the record")
@json_option
@command
async def drop_lost_events(
    pipeline: Pipeline, *, partition: str, reason: str, by: str, as_json: bool
) -> int:
    """Give up the parked events of a partition that Redis has lost.

    The partition then continues. `rewind --to-mark` brings the events back instead, as far as the
    hub retains them. PARTITION is the id of the partition, such as 0. The exit code is 1 if the
    partition has no mark.
    """
    async with open_marks(pipeline.settings) as app:
        source = Source(app.identity, partition)
        try:
            has_mark = await app.marks.read(source) is not None
        except MarkUnreadableError as error:
            has_mark = True
            say_error(str(error))
        if not has_mark:
            say_error(
                f"partition {source.partition} has no mark, so it does not wait for lost events; "
                "nothing was changed"
            )
            return 1
        oldest = await drop_mark(app.marks, app.parking, source, by=by, reason=reason)
    lost = "the lost events" if oldest is None else f"the lost events from {oldest} on"
    logger.warning(
        "Partition %s: %s gave up %s and dropped the mark: %s; the partition continues with its "
        "next batch",
        *(source, by, lost, reason),
    )
    if as_json:
        first = None if oldest is None else str(oldest)
        print(json.dumps({"partition": partition, "lost_from": first, "by": by, "reason": reason}))
    else:
        print(
            "The record is in the folder marks/dropped/ of the poison queue's container. Poisoned "
            "events are still in the poison queue."
        )
    return 0


def _head_text(head: Head) -> str:
    enqueued = enqueued_time(head.enqueued_ms).strftime("%Y-%m-%d %H:%M:%SZ")
    return (
        f"First unfinished event of partition {head.source.partition}: {head.id}\n"
        f"  key {show_key(head.key)}, enqueued at {enqueued}\n"
        f"  {printable(head.why) or 'no instance reports why the event waits'}\n"
        "Its owner will move the event to the poison queue, and the partition will continue. If "
        "the event\nfinishes before that, nothing happens."
    )


def document(listed: ListedKey, now: float) -> dict[str, Any]:
    """Return the JSON of a key; `now` is the store's time, seconds since 1970."""
    return {
        "source": str(listed.source),
        "partition": listed.source.partition,
        "key": listed.key,
        "event": listed.event,
        "state": listed.state,
        "since": listed.since,
        "reason": listed.reason,
        "dependency": listed.dependency or None,
        "attempts": listed.attempts,
        "redrives": listed.redrives,
        "next_try": listed.due,
        "next_try_seconds": None if listed.due is None else max(0.0, round(listed.due - now, 3)),
        "entries": listed.entries,
        "behind": listed.behind,
        "error": listed.error or None,
    }


def row(listed: ListedKey, now: float) -> tuple[object, ...]:
    """Return the table's row of a key; `now` is the store's time, seconds since 1970."""
    key = show_key(listed.key)
    if listed.key is None:
        key = f"{key} {short_id(listed.event)}"
    return (
        listed.source.partition,
        key,
        listed.state,
        when(listed.since),
        listed.reason,
        listed.dependency or "-",
        listed.attempts,
        WAITS if listed.due is None else in_seconds(listed.due - now),
        listed.behind,
        listed.error or "-",
    )


parked = CommandGroup(
    "parked",
    commands=[list_keys, poison_head, drop_lost_events],
    short_help="List waiting keys; poison an event that keeps its partition.",
    help="List parked and deferred keys; poison an event that keeps its partition.",
)
