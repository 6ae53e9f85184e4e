"""The list of parked and deferred keys."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from playwright.async_api import expect

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Source
from processing.operations import open_parking
from processing.parking.deferral import Deferral, DeferralReason
from processing.parking.event import ListKey, Lone, ParkedEvent, position_of
from processing.parking.store import ParkingStore, WritingAs
from processing.poison.message import PoisonMessage
from processing.settings import ConnectionSettings
from tests.support.console.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARTITION = "7"
"""A partition that the hub does not have, so that no instance of the app claims it."""


class Keys:
    """Deferred keys of one partition, whose leases keep the app from replaying them.

    The keys are deferred in the circuit's present generation: the app makes keys of an earlier
    generation due at once.
    """

    def __init__(self, store: ParkingStore, source: Source, run: str, generation: int) -> None:
        self._store = store
        self._source = source
        self._run = run
        self._generation = generation
        self._token = f"test-{run}"
        self._number = 0

    def event(self, key: str | None) -> Event:
        """Return the next event."""
        self._number += 1
        return Event(
            body=b"{}",
            key=key,
            properties={"run": self._run},
            source=self._source,
            sequence_number=self._number,
            offset=str(self._number),
            enqueued_ms=1_700_000_000_000 + self._number,
        )

    async def defer(self, key: str | None, count: int = 1, seconds: float = 3_600) -> Event:
        """Defer events of a key; return the first event."""
        events = [self.event(key) for _ in range(count)]
        first, *behind = [(position_of(each), ParkedEvent(each).to_json()) for each in events]
        name: ListKey = Lone(first[0]) if key is None else key
        writing = await self._claim()
        assert await self._store.lease(self._source, name, self._token, 600_000)
        deferral = Deferral(
            DeferralReason.DEPENDENCY, dependency="bank", error="ConnectError: no route", attempts=4
        )
        await self._store.defer(
            *(writing, self._source, name, first), deferral=deferral, pause_seconds=seconds
        )
        if behind:
            await self._store.park(writing, self._source, name, behind)
        return events[0]

    async def park(self, key: str) -> None:
        """Park a key behind a poisoned event, whose message is not in the queue."""
        event = self.event(key)
        failure = Failure(FailureKind.POISON, PoisonEventError("no amount"), 1, 0.0, 0.0)
        message = PoisonMessage.from_failure(
            event, failure, handler="h", circuit_generation=0, instance="i"
        )
        writing = await self._claim()
        await self._store.poison(
            *(writing, self._source, key, position_of(event)),
            replace(message, parked=True).to_json(),
        )

    async def remove(self) -> None:
        """Finish the events of all keys that are left."""
        for parked in await self._store.keys():
            if parked.source != self._source:
                continue
            place = (self._source, parked.key)
            await self._store.lease(*place, self._token, 60_000)
            for entry in await self._store.entries(*place):
                await self._store.finish(*place, self._token, entry.position)

    async def free(self, name: ListKey) -> None:
        """Let the app, or an operator, replay the key."""
        await self._store.release(self._source, name, self._token)

    async def _claim(self) -> WritingAs:
        claim = await self._store.claim(self._source, generation=self._generation)
        return WritingAs(claim.owner, "")


@asynccontextmanager
async def deferred_keys(site: Site, run: str) -> AsyncIterator[Keys]:
    """Yield the deferred keys, and remove those that are left."""
    settings = site.endpoints.app_settings()
    source = Source(ConnectionSettings.from_mapping(settings).identity, PARTITION)
    async with site.breaker() as breaker:
        generation = (await breaker.refresh()).generation
    async with open_parking(settings) as lists:
        keys = Keys(lists.store, source, run, generation)
        try:
            yield keys
        finally:
            await keys.remove()


async def test_deferred_keys_are_listed_and_redriven(site: Site) -> None:
    """A row shows why its key waits and until when; an open circuit refuses every redrive."""
    run = f"parked-{secrets.token_hex(3)}"
    ada = await site.sign_in("Ada")
    async with deferred_keys(site, run) as keys:
        await keys.defer(run, 3)
        alone = await keys.defer(None)
        await keys.park(f"{run}-poisoned")
        await keys.defer(f"{run}-long-{'x' * 300}")
        await ada.page.click("#tab-parked")
        rows = ada.page.locator("#parked tr")
        row = rows.filter(has_text=re.compile(rf"{run}(?!-)"))
        await expect(row).to_contain_text("deferred")
        await expect(row).to_contain_text("dependency: bank")
        await expect(row).to_contain_text("ConnectError: no route")
        await expect(row).to_contain_text(re.compile(r"in 59 min \d+ s"))
        await expect(row.locator("td").nth(6)).to_have_text("2")
        lone = rows.filter(has_text="(no key)")
        await expect(lone).to_contain_text("/".join(alone.id.split("/")[-3:]))
        await expect(lone.locator("button")).to_be_enabled()
        long = rows.filter(has_text=f"{run}-long")
        await expect(long.locator("button")).to_be_disabled()
        await expect(long.locator("small").last).to_have_text(
            "the key is too long for the page: use breakwater redrive --key"
        )
        parked = rows.filter(has_text=f"{run}-poisoned")
        await expect(parked).to_contain_text("PoisonEventError: no amount")
        await expect(parked.locator("td").nth(1)).to_have_text("parked")
        await expect(parked.locator("td").nth(5)).to_have_text("waits for an operator")
        if path := os.environ.get("PICTURES"):
            await ada.page.locator(".at-poison").screenshot(path=f"{path}/parked.png")

        await site.open()
        await expect(row.locator("button")).to_be_disabled()
        await expect(row.locator("small").last).to_have_text("circuit is open")
        if path := os.environ.get("PICTURES"):
            await ada.page.locator(".at-poison").screenshot(path=f"{path}/open.png")
        await site.close()
        await expect(row.locator("button")).to_be_enabled()

        await row.locator("button").click()
        await expect(ada.page.locator("#confirm-title")).to_have_text(
            f"Redrive the deferred key {run}?"
        )
        if path := os.environ.get("PICTURES"):
            await ada.page.screenshot(path=f"{path}/dialog.png")
        await keys.free(run)
        await ada.page.click("#confirm-go")
        await expect(row).to_have_count(0)
        await expect(lone).to_have_count(1)
        await lone.locator("button").click()
        await keys.free(Lone(position_of(alone)))
        await ada.page.click("#confirm-go")
        await expect(lone).to_have_count(0)
