"""Read-only API of the poison queue and the parked keys."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from console.errors import OperationsError
from console.poison.body_states import BodyStates
from console.poison.catalogue import RECEIVED, Catalogue
from console.poison.documents import full, parked_key, queue_state, summary
from console.poison.lazy_operations import LazyOperations, translate_errors
from console.web.requests import number_in
from console.web.responses import ApiResponse
from processing.errors import BodyLostError, ProcessingError

if TYPE_CHECKING:
    from processing.operations import ParkedLists
    from processing.poison.message import PoisonMessage

logger = logging.getLogger(__name__)

MOST = 500
"""Most messages of one answer; each body in a blob costs a read of the blob."""
MOST_CAUSES = 20
PAGE_KEYS = 200
MOST_KEYS = 500
QUERY_CHARS = 200


class PoisonApi:
    """Handlers that list, search and show; none of them changes the queue.

    Args:
        operations: open the queue and the parked lists.
        catalogue: the queue's messages.
    """

    def __init__(self, operations: LazyOperations, catalogue: Catalogue) -> None:
        self._operations = operations
        self._catalogue = catalogue
        self._states = BodyStates(operations.poison)

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        return [
            Route("/api/poison", self.find, methods=["GET"]),
            Route("/api/poison/{id:path}", self.show, methods=["GET"]),
            Route("/api/parked", self.parked, methods=["GET"]),
        ]

    async def find(self, request: Request) -> ApiResponse:
        """Return a part of the messages that contain a text and have a cause, oldest first.

        `after` names where the next part begins. A part may be short, or empty, although others
        follow, because one request looks at a limited number of messages.
        """
        parameters = request.query_params
        query = parameters.get("query", "")[:QUERY_CHARS].strip()
        limit = number_in(request, "limit", default=100, most=MOST)
        known = await self._catalogue.known()
        cause = None
        if "error" in parameters:
            from processing.poison.index.entry import Cause  # noqa: PLC0415 - loaded by now

            cause = Cause(parameters["error"], parameters.get("handler", ""))
        found = await self._catalogue.search(query, cause, parameters.get("after") or None, limit)
        # An event that was poisoned again may have several messages.
        messages = list({(each.source, each.message.id): each for each in found.entries}.values())
        states = await self._states.of([each.message for each in messages])
        causes = await self._catalogue.causes()
        return ApiResponse(
            {
                "messages": [
                    summary(each.message, state) | {"whole": each.is_whole}
                    for each, state in zip(messages, states, strict=True)
                ],
                "after": found.after,
                "causes": [
                    {"error": each.error, "handler": each.handler, "count": count}
                    for each, count in causes.most_common(MOST_CAUSES)
                ],
                "queue": queue_state(known),
            }
        )

    async def show(self, request: Request) -> ApiResponse:
        """Return one message with the beginning of its body, or with the reason of its loss."""
        wanted = request.path_params["id"]
        known = await self._catalogue.known()
        found = [each for each in await self._catalogue.named(wanted) if each.message.id == wanted]
        if not found:
            raise HTTPException(404, "this event is not in the poison queue")
        entry = max(found, key=lambda each: each.is_whole)
        message = entry.message
        if not entry.is_whole and known.count is not None and known.count <= RECEIVED:
            message = await self._received(message) or message
        is_whole = entry.is_whole or message is not entry.message
        if message.claim_check is None:
            return ApiResponse(full(message) | {"whole": is_whole})
        from processing.poison.claim_checks import with_body  # noqa: PLC0415 - loaded by now

        storage = await self._operations.poison()
        try:
            found_body = full(await with_body(message, storage.claims))
        except BodyLostError as error:
            found_body = full(message, lost=str(error))
        except ProcessingError as error:
            raise OperationsError(str(error)) from error
        return ApiResponse(found_body | {"whole": True})

    async def _received(self, message: PoisonMessage) -> PoisonMessage | None:
        """Return a message with all its texts as the queue has it; None: somebody else holds it."""
        from processing.poison.finding import find_copies  # noqa: PLC0415 - loaded by now

        storage = await self._operations.poison()
        try:
            found = await find_copies(
                *(storage.reader, message.id, storage.own), index=storage.index
            )
        except ProcessingError as error:
            logger.info("the full poison message of event %s was not read: %s", message.id, error)
            return None
        return found[0]

    async def parked(self, request: Request) -> ApiResponse:
        """Return a page of the parked and deferred keys, each with the error that blocks it.

        The key that waits longest comes first. `?after` continues at the place that the page before
        has named.
        """
        after = request.query_params.get("after") or None
        limit = number_in(request, "limit", default=PAGE_KEYS, most=MOST_KEYS)
        lists = await self._operations.parking()
        return ApiResponse(await translate_errors(_parked(lists, after, limit)))


async def _parked(lists: ParkedLists, after: str | None, most: int) -> dict[str, Any]:
    from processing.redrive.listing import KeyListing  # noqa: PLC0415 - loaded by now

    listing = await KeyListing.read(lists.store)
    try:
        page = await listing.page(after, most)
    except ValueError as error:
        raise HTTPException(400, f"after: {error}") from error
    now = await lists.now()
    return {
        "keys": [parked_key(each, now) for each in page.keys],
        "total": listing.total,
        "after": page.after,
    }
