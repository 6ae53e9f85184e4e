"""The app's wiring without progress, so that redelivered events are handled again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import List  # noqa: UP035 - the worker refuses list[...]

import azure.functions as func

from processing.bootstrap import Application
from processing.event import EventBatch
from processing.identity import Source
from processing.progress.redis import RedisProgressStore
from processing.progress.store import Mark, Progress, SentMarks
from processing.wiring import wiring


class ForgetfulStore(RedisProgressStore):
    """A progress store that stores nothing."""

    async def open(self, source: Source) -> Progress:
        """Return empty progress."""
        return Progress()

    async def commit(
        self,
        source: Source,
        owner: int,
        watermark: Mark | None,
        finished: Sequence[Mark],
        sent: SentMarks | None = None,
    ) -> bool:
        """Return True without storing anything."""
        return True


assert vars(wiring)["RedisProgressStore"] is RedisProgressStore, "the name to replace must exist"
vars(wiring)["RedisProgressStore"] = ForgetfulStore

app = func.FunctionApp()
breakwater = Application(os.environ)


@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%EVENT_HUB_NAME%",
    connection="EventHubConnection",
    consumer_group="%EVENT_HUB_CONSUMER_GROUP%",
    cardinality="many",
    data_type="binary",
)
@app.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - see above
    """Handle a batch."""
    await breakwater.process(EventBatch.from_binding(events))
