"""Routes: one handler for each type of event, chosen by a property, a header or a body field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from processing.errors import EventRouteError, HandlerLoadError
from processing.event import ATTRIBUTES, Event

type RouteName = str | int

MOST_NAMES = 10
"""Most routes that one error names."""
LONGEST_NAME = 64
"""Most characters of a type, or of a route's name, in an error."""
_TAKES = (
    'Routes takes one of by="type" (an application property), by_header="message-id" (an AMQP '
    'property or annotation) and by_body="order.kind" (a field of a JSON body)'
)
_HEADERS = frozenset(
    {
        *("message-id", "user-id", "to", "subject", "reply-to", "correlation-id", "content-type"),
        *("content-encoding", "absolute-expiry-time", "creation-time", "group-id"),
        *("group-sequence", "reply-to-group-id"),
    }
)


_MISSING: Any = None


@dataclass(frozen=True, slots=True)
class Selector:
    """The place in an event from which its type is read.

    Attributes:
        place: the place as errors name it, such as "property 'type'".
        read: returns the type; None if the event has none.
        hint: what may be wrong if no event has a type, as the end of an error; "" for nothing.
    """

    place: str
    read: Callable[[Event], object]
    hint: str = ""


class Routes:
    """Handlers by the type of the event; the name of an object of this class is a handler.

    Each handler is a function or a class as `EVENT_HANDLER` takes alone, but no list handler. A
    name is a text, compared exactly, or a whole number. An event whose type has no route goes to
    the default; without a default the event is poison at once. With `by_body`, an event whose body
    is no JSON is poison at once, also with a default.

    Args:
        by: name of the application property that holds the type.
        by_header: name of the AMQP property or annotation that holds the type, as in
            `Event.system_properties`, such as `message-id` or `iothub-message-source`.
        by_body: field of a JSON body that holds the type; a dot leads into an object.

    Raises:
        HandlerLoadError: not exactly one of the arguments is given, or it is no name.

    Example:
        >>> from breakwater import Event, Routes
        >>> from breakwater.testing import event, run
        >>> routes = Routes(by="type")
        >>> @routes.on("order.created", "order.changed")
        ... async def keep(event: Event) -> None:
        ...     print("keep", event.key)
        >>> paid = event("1", key="alice", properties={"type": "order.created"})
        >>> odd = event("2", key="alice", properties={"type": "order.eaten"})
        >>> outcome = run(routes, [paid, odd])
        keep alice
        >>> outcome.poisoned == [odd]
        True
    """

    def __init__(
        self,
        by: str | None = None,
        *,
        by_header: str | None = None,
        by_body: str | None = None,
    ) -> None:
        given = [each for each in (by, by_header, by_body) if each is not None]
        if len(given) != 1 or not isinstance(given[0], str) or not given[0].strip():
            got = ", ".join(repr(each)[:LONGEST_NAME] for each in given) or "none of them"
            raise HandlerLoadError(f"{_TAKES}; it got {got}")
        if by is not None:
            self.selector = _property(by)
        elif by_header is not None:
            self.selector = _header(by_header)
        else:
            self.selector = _field(str(by_body))
        self._handlers: dict[RouteName, Any] = {}
        self._default: Any = None
        self._loaded = False

    @property
    def handlers(self) -> Mapping[RouteName, Any]:
        """The handlers by the names of their routes."""
        return self._handlers

    @property
    def default_handler(self) -> Any:
        """The handler of all other events; None: such events are poison."""
        return self._default

    def on[H](self, *names: RouteName) -> Callable[[H], H]:
        """Return a decorator that makes a function or a class the handler of these types.

        Raises:
            HandlerLoadError: a name is no text and no whole number, or has a handler already.
        """
        accepted = 'on takes the types of events: @routes.on("order.created")'
        if not names:
            raise HandlerLoadError(f"{accepted}; it got none")
        plain = [_name(each, accepted) for each in names]

        def register(handler: H) -> H:
            self._refuse_late()
            for name in plain:
                if name in self._handlers:
                    raise HandlerLoadError(
                        f"two handlers for the type {_shown(name)}: "
                        f"{_handler_name(self._handlers[name])} and {_handler_name(handler)}; a "
                        "type has one handler"
                    )
                self._handlers[name] = handler
            return handler

        return register

    def default[H](self, handler: H = _MISSING) -> H:
        """Make a function or a class the handler of all other events; a decorator.

        Raises:
            HandlerLoadError: there is a default already, or the decorator was called.
        """
        self._refuse_late()
        if handler is _MISSING:
            raise HandlerLoadError("@routes.default takes a handler; write it without ()")
        if self._default is not None:
            raise HandlerLoadError(
                f"two default handlers: {_handler_name(self._default)} and "
                f"{_handler_name(handler)}; there is one default"
            )
        self._default = handler
        return handler

    def load(self) -> None:
        """Refuse further handlers, which an instance that has loaded the routes would not know.

        Raises:
            HandlerLoadError: there is no handler.
        """
        if not self._handlers:
            raise HandlerLoadError('has no routes; add a handler with @routes.on("order.created")')
        self._loaded = True

    def unknown(self, found: object) -> EventRouteError:
        """Return the error for an event of this type, which no route takes."""
        place = self.selector.place
        if found is None:
            what = f"the event has no {place}, and there is no default route{self.selector.hint}"
        elif type(found) in {str, int}:
            what = f"the {place} is {_shown(found)}, which has no route"
        else:
            what = f"the {place} is a {type(found).__name__}; a type is a text or a whole number"
        names = [_shown(each) for each in list(self._handlers)[:MOST_NAMES]]
        if len(self._handlers) > MOST_NAMES:
            names.append(f"and {len(self._handlers) - MOST_NAMES} more")
        return EventRouteError(f"{what}; the routes are {', '.join(names)}")

    def _refuse_late(self) -> None:
        if self._loaded:
            raise HandlerLoadError(
                "a handler was added to routes that were loaded before, so its events would not "
                "reach it; import the modules of all handlers in the module of the routes"
            )


def _property(name: str) -> Selector:
    return Selector(f"property {_shown(name)}", lambda event: event.properties.get(name))


def _header(name: str) -> Selector:
    if name in ATTRIBUTES:
        raise HandlerLoadError(
            f"Routes cannot read the header {name!r}, which is the event's place or key; {_TAKES}"
        )
    plain = name.strip().lower().replace("_", "-")
    if plain != name and plain in _HEADERS:
        raise HandlerLoadError(f"the header {name!r} is written {plain!r}")
    return Selector(f"header {_shown(name)}", lambda event: event.system_properties.get(name))


def _field(path: str) -> Selector:
    names = path.split(".")
    if not all(names):
        raise HandlerLoadError(f"by_body is {path!r:.100}; it takes names with dots between them")

    def read(event: Event) -> object:
        found = event.json()
        for name in names:
            if not isinstance(found, dict):
                return None
            found = found.get(name)
        return found

    # A field may have the name "$", so this is no error of the routes.
    rest = path.removeprefix("$.")
    hint = "" if rest == path else f" (a path begins with a field: {rest!r:.100})"
    return Selector(f"body field {_shown(path)}", read, hint)


def _name(name: object, accepted: str) -> RouteName:
    if isinstance(name, str) and "*" in name:
        raise HandlerLoadError(
            f"{accepted}, each compared exactly; it got the pattern {_shown(name)}; "
            "@routes.default takes all other events"
        )
    if isinstance(name, str) and name:
        return str.__str__(name)  # the plain text of a member of an enumeration
    if isinstance(name, int) and not isinstance(name, bool):
        return int(name)
    got = f"the {type(name).__name__} {name!r:.100}" if name != "" else "an empty text"
    raise HandlerLoadError(f"{accepted}; it got {got}")


def _handler_name(handler: Any) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)


def _shown(name: object) -> str:
    text = repr(name)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
