"""One process of the app without a host: it processes batches until they return, and ends.

`python -m tests.support.processing.crash_child BATCHES` reads the app's settings from the
environment. BATCHES is JSON: by partition, the bodies of the events with the numbers 0, 1, ... A
partition of a declared pipeline is `PIPELINE/PARTITION`. A batch that raises runs again, as the
platform's retry policy does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys

from breaker.configuration.pipelines import pipeline_of
from processing.bootstrap import Application
from processing.errors import ShutdownError
from processing.event import EventBatch
from processing.identity import Source
from processing.settings import ConnectionSettings
from tests.support.processing.events import event


async def main(batches: dict[str, list[str]]) -> None:
    app = Application(os.environ)

    async def process(place: str, bodies: list[str]) -> None:
        pipeline, _, partition = place.rpartition("/")
        settings = pipeline_of(os.environ, pipeline or None).settings
        source = Source(ConnectionSettings.from_mapping(settings).identity, partition)
        events = [
            event(number, f"k{number}", body=body.encode(), source=source)
            for number, body in enumerate(bodies)
        ]
        while True:
            try:
                await app.process(EventBatch(source, events))
            except ShutdownError:
                return
            except Exception:
                logging.exception("The batch of partition %s runs again", place)
                await asyncio.sleep(0.1)
            else:
                return

    await asyncio.gather(*(process(*each) for each in batches.items()))
    await app.aclose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("azure").setLevel(logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
