"""Bodies of events as objects of the handler's type, parsed and validated by pydantic."""

from __future__ import annotations

import inspect
from codecs import BOM_UTF8
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING, Any, get_args

from processing.errors import EventModelError, HandlerLoadError
from processing.event import Event
from processing.handlers.functions import is_async
from processing.handlers.parameters import parameters_of
from processing.handlers.raised import describe, type_name

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MOST_FIELDS = 5
"""Most wrong fields that one error names."""
LONGEST_NAME = 64
"""Most characters of one name in a field's path."""
_WITH_VALUES = frozenset(
    {
        "value_error",
        "assertion_error",
        "union_tag_invalid",
        "get_attribute_error",
        "iteration_error",
        "uuid_parsing",
        "bytes_invalid_encoding",
        "mapping_type",
        "timezone_offset",
    }
)
"""The kinds of errors whose messages contain the value, or a text that the model wrote about it."""


def body_parser(annotation: Any) -> Callable[[bytes], Any]:
    """Return a function that parses a body, JSON in UTF-8, as the annotation's type.

    The function raises `EventModelError` if the body does not fit. An error of another kind that a
    validator of the model raises is raised unchanged.

    Raises:
        HandlerLoadError: pydantic is not installed, or cannot parse this type.
    """
    name = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)[:200]
    try:
        # Only a handler with such a parameter needs pydantic.
        from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415
        from pydantic_core.core_schema import ErrorType  # noqa: PLC0415

        adapter = TypeAdapter(annotation)
        # The adapter of a model that is not complete fails at its first use.
        parse = adapter.validator.validate_json
    except Exception as error:
        raise HandlerLoadError(
            f"bodies cannot be parsed as {name}: {type_name(error)}: {describe(error)}; the first "
            "parameter takes the event, or a type that pydantic 2 can parse"
        ) from error

    # A model may raise errors with types and texts of its own.
    kinds = frozenset(get_args(ErrorType)) - _WITH_VALUES
    names = _texts(adapter.core_schema)

    def parsed(body: bytes) -> Any:
        try:
            return parse(body.removeprefix(BOM_UTF8))  # .NET writes the mark
        except ValidationError as error:
            raise EventModelError(_text(name, error, kinds, names)) from None

    return parsed


def with_parsed_body(handler: Any) -> Any:
    """Return a handler of one event; it calls `handler` with the arguments of its annotations.

    Raises:
        HandlerLoadError: see `body_parser`.
    """
    parameters = parameters_of(handler)
    if parameters.body is None:
        return handler
    parse, call = body_parser(parameters.body), handler

    def with_event(event: Event) -> Any:
        return call(parse(event.body), event)

    def alone(event: Event) -> Any:
        return call(parse(event.body))

    adapted = with_event if parameters.with_event else alone
    return inspect.markcoroutinefunction(adapted) if is_async(handler) else adapted


def _text(name: str, error: ValidationError, kinds: Set[str], names: Set[str]) -> str:
    """Return which fields are wrong, and why, without a value of the body.

    The text goes to the log and to metrics of errors, where personal data must not appear. The
    body itself is in the poison message. `kinds` are the types of errors whose messages are shown,
    and `names` the parts of paths that are shown.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{_path(each['loc'], names)}: {each['msg'] if each['type'] in kinds else each['type']}"
        for each in found[:MOST_FIELDS]
    ]
    if len(found) > MOST_FIELDS:
        shown.append(f"and {len(found) - MOST_FIELDS} more")
    hint = "; a handler of many events takes list[Event]" if _is_one_of_a_list(found) else ""
    return f"the body is no {name}: {'; '.join(shown)}{hint}"


def _is_one_of_a_list(found: Sequence[ErrorDetails]) -> bool:
    """Return whether the type is a list of models, and the body probably one model.

    The name `list[Order]` may have been meant as the bodies of many events.
    """
    return any(each["type"] == "list_type" and not each["loc"] for each in found)


def _path(location: tuple[int | str, ...], names: Set[str]) -> str:
    """Return the path of a field; `*` stands for a key of the body that the model does not name."""
    parts = (
        str(each)[:LONGEST_NAME] if isinstance(each, int) or each in names else "*"
        for each in location[:10]
    )
    return ".".join(parts) or "(body)"


def _texts(schema: object) -> frozenset[str]:
    """Return all texts in a model's schema, such as the names of fields and the tags of unions."""
    found: set[str] = {"[key]"}  # pydantic's own part of a path
    seen: set[int] = set()
    pending: list[object] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            found.add(part)
        elif isinstance(part, dict | list | tuple) and id(part) not in seen:
            seen.add(id(part))
            pending += part
            pending += part.values() if isinstance(part, dict) else ()
    return frozenset(found)
