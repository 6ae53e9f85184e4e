"""Read-only API of the poison queue and the parked keys."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from console.errors import OperationsError
from console.poison.body_states import BodyStates
from console.poison.catalogue import MOST, Catalogue
from console.poison.documents import full, matches, parked_key, summary
from console.poison.lazy_operations import LazyOperations, translate_errors
from console.web.requests import number_in
from console.web.responses import ApiResponse
from processing.errors import BodyLostError, ProcessingError

if TYPE_CHECKING:
    from processing.operations import ParkedLists

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
        """Return the messages that contain a text, and the number of messages searched."""
        query = request.query_params.get("query", "")[:QUERY_CHARS].strip().casefold()
        limit = number_in(request, "limit", default=100, most=MOST)
        messages, more = await self._catalogue.messages()
        own = await self._catalogue.own()
        found = [message for message in messages if matches(message, query)]
        shown = found[:limit]
        states = await self._states.of(shown)
        return ApiResponse(
            {
                "messages": [
                    summary(*each) for each in zip(shown, repeat(own), states, strict=False)
                ],
                "more": more or len(found) > limit,
                "seen": len(messages),
                "as_of": round(self._catalogue.read_at * 1000),
            }
        )

    async def show(self, request: Request) -> ApiResponse:
        """Return one message with the beginning of its body, or with the reason of its loss.

        Two apps may have poisoned the same event: `?app=NAME` names one of them.
        """
        wanted, app = request.path_params["id"], request.query_params.get("app", "")
        messages, _ = await self._catalogue.messages()
        own = await self._catalogue.own()
        found = [
            each for each in messages if each.id == wanted and app in ("", each.source.identity.app)
        ]
        if not found:
            raise HTTPException(404, "this event is not in the poison queue")
        message = max(found, key=lambda each: each.source.identity == own)
        is_elsewhere = message.claim_check is not None and message.source.identity != own
        if message.claim_check is None or is_elsewhere:
            return ApiResponse(full(message, own, elsewhere=is_elsewhere))
        from processing.poison.claim_checks import with_body  # noqa: PLC0415 - loaded by now

        storage = await self._operations.poison()
        try:
            return ApiResponse(full(await with_body(message, storage.claims), own))
        except BodyLostError as error:
            return ApiResponse(full(message, own, lost=str(error)))
        except ProcessingError as error:
            raise OperationsError(str(error)) from error

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
