"""`python -m processing parked list|poison-head|drop-mark`."""

from __future__ import annotations

import argparse
import getpass
import logging
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from processing.cli.moved import say_moved
from processing.cli.output import Pages, in_seconds, printable, short_id, show_key, when
from processing.event import enqueued_time
from processing.formats import json_text
from processing.identity import Source
from processing.monitoring.telemetry import key_hash
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


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:  # type: ignore[type-arg]
    """Add the command `parked`."""
    parked = commands.add_parser(
        "parked", help="list parked and deferred keys; poison an event that keeps its partition"
    )
    acts = parked.add_subparsers(dest="act", required=True)
    listing = acts.add_parser(
        "list",
        parents=[common],
        help="list parked and deferred keys, oldest first: why each key waits, and its next try",
    )
    listing.add_argument("--partition", metavar="P", help="list only the keys of this partition")
    listing.add_argument(
        "--dependency", metavar="NAME", help="list only the keys that wait for this dependency"
    )
    listing.add_argument(
        "--limit",
        type=_positive,
        default=sys.maxsize,
        metavar="N",
        help="list at most N keys (default: all keys, page by page)",
    )
    listing.add_argument(
        "--after", metavar="PLACE", help="continue at the place that an earlier list has named"
    )
    listing.add_argument("--json", action="store_true", help="print one JSON object per line")
    listing.set_defaults(run=run_list)
    head = acts.add_parser(
        "poison-head",
        parents=[common],
        help="poison the first unfinished event of a partition at its next attempt, so that the "
        "partition continues",
    )
    head.add_argument("partition", metavar="PARTITION", help="id of the partition, such as 0")
    head.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _add_by(head, "name for the log line")
    head.set_defaults(run=run_poison_head)
    mark = acts.add_parser(
        "drop-mark",
        parents=[common],
        help="give up the parked events of a partition that Redis has lost, so that the partition "
        "continues; `rewind --to-mark` brings them back instead, as far as the hub retains them",
    )
    mark.add_argument("partition", metavar="PARTITION", help="id of the partition, such as 0")
    mark.add_argument(
        "--reason", required=True, metavar="TEXT", help="reason to write into the record"
    )
    _add_by(mark, "name to write into the record")
    mark.set_defaults(run=run_drop_mark)


async def run_list(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """List parked and deferred keys, each with the event that blocks it; return 0."""
    only, need = arguments.partition, (arguments.dependency or "").lower()
    shown, after, pages = 0, arguments.after, Pages(HEADINGS)
    async with open_parking(settings) as lists:
        listing = await KeyListing.read(lists.store, only)
        while shown < arguments.limit:
            most = min(PAGE_KEYS, arguments.limit - shown)
            found = await listing.page(after, most, dependency=need)
            if found.keys:
                now = await lists.now()
                lines = [json_text.dumps(document(each, now)) for each in found.keys]
                print("\n".join(lines) if arguments.json else pages.page(_rows(found.keys, now)))
            shown, after = shown + len(found.keys), found.after
            if after is None:
                break
        await say_moved(lists)
    if after is not None:
        print(
            f"{shown:,} of {listing.total:,} keys are shown; continue with "
            f"--after {shlex.quote(after)}",
            file=sys.stderr,
        )
    elif not shown and not arguments.json and arguments.after is None:
        place = "" if only is None else f" in partition {only}"
        print(f"No parked keys{place}" + (f" wait for dependency {need}" if need else ""))
    return 0


def _rows(keys: Iterable[ListedKey], now: float) -> list[tuple[object, ...]]:
    return [row(each, now) for each in keys]


async def run_poison_head(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Poison a partition's first unfinished event; return 1 if the operator does not confirm."""
    async with open_poison_head(settings) as heads:
        head = await heads.find(arguments.partition)
        print(_head_text(head))
        if not arguments.yes:
            if not sys.stdin.isatty():
                print(
                    "processing: nothing was changed; --yes confirms without a terminal",
                    file=sys.stderr,
                )
                return 2
            if not _confirms("Poison this event? [y/N] "):
                print("Nothing was changed")
                return 1
        await heads.poison(head)
    logger.warning(
        "Event %s (key hash %s): %s decided to poison the event; the owner of partition %s moves "
        "it to the poison queue at its next attempt",
        *(head.id, key_hash(head.key) or "none", arguments.by, arguments.partition),
    )
    print("See `python -m processing poison list` in a minute; the event is listed there.")
    return 0


async def run_drop_mark(settings: Mapping[str, str], arguments: argparse.Namespace) -> int:
    """Drop a partition's mark, on record; return 1 if the partition has no mark."""
    async with open_marks(settings) as app:
        source = Source(app.identity, arguments.partition)
        try:
            has_mark = await app.marks.read(source) is not None
        except MarkUnreadableError as error:
            has_mark = True
            print(printable(str(error)), file=sys.stderr)
        if not has_mark:
            print(
                f"processing: partition {source.partition} has no mark, so it does not wait for "
                "lost events; nothing was changed",
                file=sys.stderr,
            )
            return 1
        oldest = await drop_mark(
            app.marks, app.parking, source, by=arguments.by, reason=arguments.reason
        )
    lost = "the lost events" if oldest is None else f"the lost events from {oldest} on"
    logger.warning(
        "Partition %s: %s gave up %s and dropped the mark: %s; the partition continues with its "
        "next batch",
        *(source, arguments.by, lost, arguments.reason),
    )
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


def _confirms(question: str) -> bool:
    # asyncio would answer the first Ctrl-C only after the input has ended.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except EOFError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


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


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def _add_by(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--by", default=_user(), metavar="NAME", help=f"{what} (default: your user name)"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "operator"
