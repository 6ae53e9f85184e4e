"""The copies in one batch: events that their producer has sent again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from processing.batch.run import BatchRun
from processing.event import Event
from processing.progress.copies import Copies, CopyFinder
from processing.progress.store import ProgressStore
from processing.settings import ProcessingSettings

logger = logging.getLogger(__name__)


class BatchCopies:
    """The search for copies in batches, with at most one command of the store for each batch.

    Args:
        progress: stores the marks of finished events.
        settings: `dedupe_property` and `dedupe_seconds`.
    """

    def __init__(self, progress: ProgressStore, settings: ProcessingSettings) -> None:
        self._progress = progress
        self._name = settings.dedupe_property
        self._finder = CopyFinder(self._name, settings.dedupe_seconds)

    async def find(self, run: BatchRun, events: Sequence[Event]) -> Copies | None:
        """Return the copies among unfinished events; None if no event can have any.

        Raises:
            StorageUnavailableError: the store did not answer for `hold_seconds`.
        """
        ids = self._finder.ids_of(events) if self._name else {}
        if not ids:
            return None
        known = await run.persist(self._progress.sent, run.source, sorted(set(ids.values())))
        copies = self._finder.find(events, ids, known)
        if found := len(events) - len(copies.without(events)):
            logger.info(
                "Partition %s: %s of %s events are copies of earlier events by their property %s, "
                "and are not handled again",
                *(run.source, found, len(events), self._name),
            )
        return copies
