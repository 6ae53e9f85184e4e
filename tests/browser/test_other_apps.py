"""The list of poison events beside another app's events in the same queue."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from playwright.async_api import expect

from processing.errors import PoisonEventError
from processing.event import Event
from processing.handlers.retry import Failure, FailureKind
from processing.identity import Identity, Source
from processing.poison.message import PoisonMessage
from processing.wiring import Wiring
from tests.support.console import poison_queue
from tests.support.console.site import Site
from tests.support.patience import HANG_SECONDS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def poisoned_events(site: Site, key: str) -> AsyncIterator[Identity]:
    """Put an event of the app and one of another app into the queue; yield the other app."""
    async with AsyncExitStack() as opened:
        wiring = Wiring(site.endpoints.app_settings(), opened)
        own = wiring.connections.identity
        other = Identity(own.namespace, own.hub, "audit")
        failure = Failure(FailureKind.POISON, PoisonEventError("no amount"), 1, 0.0, 0.0)
        queue = await wiring.poison()
        await poison_queue.empty(wiring)  # the page counts what other tests have left
        for number, identity in enumerate((own, other)):
            time = 1_700_000_000_000 + number
            event = Event(b"{}", key, {}, Source(identity, "7"), number, str(number), time)
            message = PoisonMessage.from_failure(
                event, failure, handler="h", circuit_generation=0, instance="i"
            )
            await queue.put(message)
        # The page's own comparison is due only after two looks that are 30 s apart.
        await (await wiring.comparison()).ensure(fresh=True)
        try:
            yield other
        finally:
            await poison_queue.empty(wiring)


async def test_event_of_another_app_is_counted_and_not_listed(site: Site) -> None:
    """The page says whose the event is; no button is there that would be refused."""
    key = f"key-{secrets.token_hex(3)}"
    async with poisoned_events(site, key) as other:
        page = (await site.sign_in("Ada")).page
        rows = page.locator("#poison tr").filter(has_text=key)
        await expect(rows).to_have_count(1)
        await expect(rows.get_by_role("button", name="Redrive…")).to_be_enabled()
        await expect(page.locator("#poison-count")).to_have_text("1")
        await expect(page.locator("#poison-note")).to_contain_text("and 1 of other apps")
        await expect(page.locator("#poison-pager")).to_contain_text(
            f"1 message of other apps: {other.app} (1)", timeout=HANG_SECONDS * 1_000
        )
        async with page.expect_response("**/api/poison/*") as response:
            await rows.locator("button.link").click()
        assert (await response.value).ok
        await expect(page.locator("#event-one")).to_be_enabled()
        await expect(page.locator("#event-refused")).to_be_empty()
