"""An app that handles one batch at a time, over all its pipelines.

A batch of a pipeline whose circuit is open holds, and those of the other pipeline wait for it.
"""

from __future__ import annotations

import asyncio

import azure.functions as func

import breakwater
from processing.batch.result import BatchResult
from processing.event import EventBatch

app = func.FunctionApp()
blueprint = breakwater.blueprint()
_process, _turn = blueprint.application.process, asyncio.Lock()


async def _one_at_a_time(batch: EventBatch) -> BatchResult:
    async with _turn:
        return await _process(batch)


blueprint.application.process = _one_at_a_time  # type: ignore[method-assign]
app.register_functions(blueprint)
