"""`breakwater poison list`."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from breaker.configuration.command_line import (
    WholeNumber,
    json_option,
    say_error,
)
from breaker.configuration.pipeline_option import (
    choice,
    need_one,
    on_all_pipelines,
    show_each,
)
from breaker.configuration.pipelines import Pipeline
from processing.cli.options import CODES, command
from processing.cli.output import Bar, printable, show_key, table, when
from processing.errors import ProcessingError, StorageUnavailableError
from processing.formats import json_text
from processing.operations import PoisonStorage, open_poison
from processing.poison.claim_checks import states
from processing.poison.comparison import Compared
from processing.poison.index.entry import IndexEntry
from processing.poison.index.index import PoisonIndex
from processing.poison.index.memory import MemoryPoisonIndex
from processing.poison.index.search import search as find
from processing.poison.message import PoisonMessage
from processing.poison.other_apps import left_alone

LIMIT = 200
SHOWN_CAUSES = 20
SHOWN_FROM = 1_000
"""Number of messages from which on the progress of reading the queue is shown."""
_CURSOR = re.compile(r"([^/]*/)?-?\d+:-?\d+:[^:]+")
_HEADINGS = (
    *("id", "key", "last attempt", "attempts", "redrives", "parked", "body", "error", "message"),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The messages that an operator asks for."""

    key: str | None
    search: str
    after: str | None
    limit: int | None


class _Cursor(click.ParamType[str]):
    """The place behind a page."""

    name = "cursor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the cursor."""
        if not _CURSOR.fullmatch(value):
            self.fail(
                f"{value!r:.100} is not a cursor; the last line of an earlier page names one",
                param,
                ctx,
            )
        return str(value)


@click.command("list", short_help="List the app's poison messages, oldest first.")
@on_all_pipelines
@json_option
@click.option(
    "--limit",
    type=WholeNumber(1),
    metavar="N",
    help=f"List at most N messages (default: {LIMIT}; with --json all).",
)
@click.option(
    "--after",
    type=_Cursor(),
    metavar="CURSOR",
    help="Continue after the page whose last line printed CURSOR.",
)
@click.option("--key", metavar="KEY", help="List only messages of this key.")
@click.option(
    "--search",
    metavar="TEXT",
    default="",
    help="List only messages whose id, key, handler or error contains TEXT.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="First compare the queue's index with the queue; this hides all messages for a moment.",
)
@command
async def list_messages(
    pipelines: Sequence[Pipeline],
    *,
    as_json: bool,
    limit: int | None,
    after: str | None,
    key: str | None,
    search: str,
    fresh: bool,
) -> int:
    """List the app's poison messages, oldest first, without their bodies.

    Several pipelines are shown one after another.
    """
    need_one(pipelines, after=after is not None)
    if after and ("/" in after) != (key is not None):
        how = "with" if "/" in after else "without"
        raise ProcessingError(
            f"the cursor {after} belongs to a list {how} --key; repeat the arguments of the page "
            "that printed the cursor"
        )
    wanted = _Wanted(key, search, after, limit)

    async def show(pipeline: Pipeline) -> int:
        async with open_poison(pipeline.settings) as storage:
            index, compared = await _compared(storage, fresh=fresh)
            head = await _head(storage, index, compared)
            if not as_json:
                print("\n".join(head))
                await _print_table(storage, index, wanted, choice(pipeline))
                return 0
            for line in head[1:]:
                print(line, file=sys.stderr)
            async for page, _ in _pages(index, wanted, limit):
                for fields in await _documents(storage, page):
                    print(json_text.dumps(fields))
        return 0

    return await show_each(pipelines, show, codes=CODES, headings=not as_json)


async def _compared(storage: PoisonStorage, *, fresh: bool) -> tuple[PoisonIndex, Compared]:
    """Return the index, and how it compares with the queue.

    While Redis is away, an index in this process is built from the queue.
    """
    bar = Bar("read from the queue")

    def show(seen: int, total: int) -> None:
        if total >= SHOWN_FROM:
            bar(seen, total)

    try:
        try:
            compared = await storage.comparison.ensure(show, fresh=fresh)
            if compared.gone and not await storage.runs.running():
                # Somebody emptied the queue. A redrive would only be about to say so.
                compared = await storage.comparison.ensure(show, fresh=True)
            return storage.index, compared  # noqa: TRY300 - one path
        except StorageUnavailableError as error:
            say_error(f"{error}; reading the whole queue instead")
        index = MemoryPoisonIndex(storage.own)
        return index, await storage.comparison.into(index).ensure(show)
    finally:
        bar.close()


async def _head(storage: PoisonStorage, index: PoisonIndex, compared: Compared) -> list[str]:
    """Return lines about the whole queue; the first one says how many messages there are."""
    state = compared.state
    causes = sorted((await index.causes()).items(), key=lambda cause: -cause[1])
    as_of = f", as of {when(state.built_at)}" if state.built_at is not None else ""
    lines = [f"{_messages(state.entries)} of {storage.own.app}{as_of}"]
    if not state.entries:
        lines = ["No poison messages"]
    for cause, number in causes[:SHOWN_CAUSES] if len(causes) > 1 else []:
        lines[0] += f"\n{number:>9,}  {printable(cause.error)} in {printable(cause.handler)}"
    if len(causes) > SHOWN_CAUSES:
        others = sum(number for _, number in causes[SHOWN_CAUSES:])
        lines[0] += f"\n{others:>9,}  of {len(causes) - SHOWN_CAUSES:,} further causes"
    if state.held:
        lines.append(f"not listed: {_messages(state.held)} that another program has received")
    if state.unreadable:
        lines.append(
            f"{_messages(state.unreadable)} in the queue that this version cannot read; they are "
            "left alone"
        )
    if compared.not_indexed:
        lines.append(
            f"{_messages(compared.not_indexed)} in the queue that the index does not know yet; "
            "--fresh reads the queue"
        )
    lines += filter(None, [left_alone(state.of_others)])
    with suppress(StorageUnavailableError):
        lines += await storage.runs.lines()
    return lines


async def _print_table(
    storage: PoisonStorage, index: PoisonIndex, wanted: _Wanted, chosen: str
) -> None:
    rows: list[tuple[object, ...]] = []
    behind: str | None = None
    async for page, after in _pages(index, wanted, wanted.limit or LIMIT):
        rows += map(_row, await _documents(storage, page))
        behind = after
    if rows:
        print()
        print(table(_HEADINGS, rows))
    if behind is not None:
        print(f"\nMore: add {chosen}--after {behind}")


async def _pages(
    index: PoisonIndex, wanted: _Wanted, limit: int | None
) -> AsyncIterator[tuple[list[IndexEntry], str | None]]:
    """Yield the entries of each page, one per event, and the cursor behind the page."""
    after, left = wanted.after, limit
    while left is None or left > 0:
        most = LIMIT if left is None else min(LIMIT, left)
        page = await find(index, wanted.search, key=wanted.key, after=after, most=most)
        after = page.after
        left = None if left is None else left - len(page.entries)
        yield _one_per_event(page.entries), after
        if after is None:
            return


def _one_per_event(entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    unique = {(each.source, each.message.id): each for each in entries}
    return list(unique.values())


async def _documents(storage: PoisonStorage, entries: Sequence[IndexEntry]) -> list[dict[str, Any]]:
    bodies = await states([each.message for each in entries], storage.claims, storage.own)
    whose = {"app": storage.own.app, "own": True}
    return [
        fields_of(entry.message) | {"body_state": state, "is_whole": entry.is_whole} | whose
        for entry, state in zip(entries, bodies, strict=True)
    ]


def _row(fields: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        *(fields["id"], show_key(fields["key"]), fields["last_attempt_time"][:19]),
        *(fields["attempts"], fields["redrives"], "yes" if fields["parked"] else "no"),
        *(fields["body_state"], fields["error"]["type"].rpartition(".")[2]),
        fields["error"]["message"],
    )


def fields_of(message: PoisonMessage) -> dict[str, Any]:
    """Return the fields of a message without its body."""
    found = message.to_dict()
    del found["body"]
    return found


def _messages(number: int) -> str:
    return f"{number:,} {'message' if number == 1 else 'messages'}"
