"""The parameters of a handler: what a call passes, read from the annotations."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType, SimpleNamespace, UnionType
from typing import Any, ForwardRef, TypeAliasType, TypeVar, Union, get_args, get_origin

from processing.event import Event
from processing.handlers.functions import function_of, wrapped_functions

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY = inspect.Parameter.empty
_LISTS = (list, Sequence)
_LIST_TEXT = re.compile(r"(?:\w+\.)*(?:list|List|Sequence)\[[\"']?([\w.]+)[\"']?\]")


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arguments of one call.

    Attributes:
        body: the type that the event's body is parsed as; None: the first argument is the event.
        with_event: whether the event is a second argument.
        many: whether the argument is a list of events.
        fault: why the handler cannot be called, as the end of "the handler …"; "" if it can.
        remedied: whether the fault says what to do, so that no list of accepted arguments follows.
    """

    body: Any = None
    with_event: bool = False
    many: bool = False
    fault: str = ""
    remedied: bool = False

    @property
    def count(self) -> int:
        """The number of arguments."""
        return 1 + self.with_event


_EVENT_ALONE = Parameters()
_EVENTS = Parameters(many=True)


def parameters_of(found: Any, *, receiver: bool = False) -> Parameters:
    """Return the arguments of a call of `found`; nothing is called or imported.

    Args:
        found: a function or a callable object.
        receiver: whether the function's first argument is an instance.
    """
    skipped = int(receiver)
    while True:
        try:
            # A wrapper may pass other arguments than it takes: its own signature counts.
            signature = inspect.signature(found, follow_wrapped=False)
        except (TypeError, ValueError):  # built-in functions have no signature
            return _EVENT_ALONE
        parameters = list(signature.parameters.values())[skipped:]
        if not parameters:
            return _EVENT_ALONE
        if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            break
        # A wrapper that takes *args passes on what it gets, so the wrapped function decides.
        while isinstance(found, functools.partial):
            skipped += len(found.args)
            found = found.func
        wrapped = getattr(function_of(found), "__wrapped__", None)
        if wrapped is None:
            return _EVENT_ALONE
        skipped += not isinstance(found, FunctionType) and not _is_static(found)
        found = wrapped
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if not positional:
        return _EVENT_ALONE
    return _of(positional, function_of(found))


def _of(positional: list[inspect.Parameter], function: FunctionType | None) -> Parameters:
    first = positional[0]
    try:
        annotation = _resolved(first.annotation, function)
        variable = _open_variable(annotation, function)
        is_event, is_body = _is_event(annotation), _is_body(annotation)
        is_list = _is_list_of_events(annotation)
    except Exception as error:  # the value of an alias is evaluated late
        if _looks_like_list(first.annotation):
            return _EVENTS
        return _EVENT_ALONE if _looks_like_event(first.annotation) else _unresolved(first, error)
    if variable is not None:
        return Parameters(
            fault=f"takes a first parameter {first.name} of type {_shown(annotation)}, which "
            f"depends on the type variable {variable}; name the event or the type of its body",
            remedied=True,
        )
    if is_list:
        return _EVENTS
    if is_event:
        return _EVENT_ALONE
    if not is_body:
        return Parameters(
            fault=f"takes a first parameter {first.name} of type {_shown(annotation)}, which is "
            "neither the event nor a type for its body"
        )
    if fault := _missing(annotation):
        return Parameters(fault=fault, remedied=True)
    if len(positional) == 1:
        return Parameters(annotation)
    second = positional[1]
    try:
        annotated = _resolved(second.annotation, function)
    except Exception as error:
        if not _looks_like_event(second.annotation):
            return _unresolved(second, error)
        annotated = Event
    named = annotated is not _EMPTY and _is_event(annotated)
    if second.default is not _EMPTY and not named:
        return Parameters(annotation)
    if annotated is not _EMPTY and not named:
        return Parameters(
            fault=f"takes a second parameter {second.name} of type {_shown(annotated)}; the "
            f"only one after {_shown(annotation)} is the event (breakwater.Event)",
            remedied=True,
        )
    return Parameters(annotation, with_event=True)


def _unresolved(parameter: inspect.Parameter, error: Exception) -> Parameters:
    return Parameters(
        fault=f"has a parameter {parameter.name} whose type {parameter.annotation!r:.100} cannot "
        f"be found ({type(error).__name__}: {error}); import or define the type at the top level "
        "of the module, and not under TYPE_CHECKING",
        remedied=True,
    )


def _resolved(annotation: Any, function: FunctionType | None) -> Any:
    """Return an annotation whose text is evaluated, as `from __future__ import annotations` needs.

    Each annotation is evaluated alone: another one may name a type that only a type checker sees.
    """
    if annotation is None:
        return type(None)
    if not isinstance(annotation, str) and get_origin(annotation) is None:
        return annotation
    # Texts may also be inside, as in `list["Order"]`.
    names: dict[str, Any] = {}
    if function is not None:
        # `functools.wraps` copies the annotations of the innermost function.
        *_, function = wrapped_functions(function)
        types = {each.__name__: each for each in function.__type_params__}
        names = function.__globals__ | _enclosed(function) | types
    holder = SimpleNamespace(__annotations__={"it": annotation})
    hints: Mapping[str, Any] = typing.get_type_hints(holder, names, {}, include_extras=True)
    return hints["it"]


def _enclosed(function: FunctionType) -> dict[str, Any]:
    """Return the variables of enclosing functions that a function uses."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _looks_like_event(annotation: Any) -> bool:
    """Return whether a text names the event, which is often imported for type checkers only."""
    return isinstance(annotation, str) and annotation.rpartition(".")[2] == Event.__name__


def _looks_like_list(annotation: Any) -> bool:
    """Return whether a text names a list of events; see `_looks_like_event`."""
    found = _LIST_TEXT.fullmatch(annotation) if isinstance(annotation, str) else None
    return found is not None and _looks_like_event(found[1])


def _open_variable(annotation: Any, function: FunctionType | None) -> TypeVar | None:
    """Return a type variable of the annotation that may mean another type than the event.

    One without a bound means the event, unless it is a variable of a generic class: a subclass
    may have set it to a model.
    """
    variables = getattr(annotation, "__parameters__", ())
    if isinstance(annotation, type):  # a generic class itself
        variables = ()
    for each in (annotation, *variables):
        if not isinstance(each, TypeVar):
            continue
        allowed = each.__constraints__ or ([] if each.__bound__ is None else [each.__bound__])
        if allowed and not any(_is_event(one) for one in allowed):
            return each
        if not allowed and _is_variable_of_class(each, function):
            return each
    return None


def _is_variable_of_class(variable: TypeVar, function: FunctionType | None) -> bool:
    if function is None:
        return False
    *_, function = wrapped_functions(function)
    owner = function.__qualname__.rpartition(".")[0]
    is_method = owner != "" and not owner.endswith("<locals>")
    return is_method and variable not in function.__type_params__


def _is_event(annotation: Any) -> bool:
    return any(_is_event_type(each) for each in _alternatives(annotation))


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the types of a union, through the aliases of types."""
    pending, seen = [annotation], set()
    while pending:
        each = pending.pop()
        if isinstance(each, TypeAliasType):
            if each not in seen:  # an alias may contain itself
                seen.add(each)
                pending.append(each.__value__)
        elif get_origin(each) is typing.Annotated:
            pending.append(get_args(each)[0])
        elif get_origin(each) in {Union, UnionType}:
            pending += get_args(each)
        else:
            yield each


def _is_event_type(found: Any) -> bool:
    if found is _EMPTY or found is Any or isinstance(found, TypeVar):
        return True
    if isinstance(found, ForwardRef):  # the bound of a type variable
        return _looks_like_event(found.__forward_arg__)
    if not isinstance(found, type):
        return False
    if getattr(found, "_is_protocol", False):
        return True
    return not typing.is_typeddict(found) and issubclass(Event, found)


def _is_list_of_events(annotation: Any) -> bool:
    """Return whether a type is `list[Event]`, or the sequence of such a list.

    `list[Any]` says nothing about events, and a list of models is one body.
    """
    for each in _alternatives(annotation):
        if get_origin(each) not in _LISTS:
            continue
        members = [*_alternatives(get_args(each)[0])]
        if any(one is Event or _looks_like_reference(one) for one in members):
            return True
    return False


def _looks_like_reference(found: Any) -> bool:
    return isinstance(found, ForwardRef) and _looks_like_event(found.__forward_arg__)


def _is_body(annotation: Any, seen: tuple[TypeAliasType, ...] = ()) -> bool:
    """Return whether pydantic parses the annotation's type: a model, or a type made of models."""
    if isinstance(annotation, TypeAliasType):
        return annotation not in seen and _is_body(annotation.__value__, (*seen, annotation))
    parts = [get_origin(annotation), *get_args(annotation)]
    if any(isinstance(each, type) and issubclass(each, Event) for each in parts):
        return False
    return _is_model(annotation) or any(_is_body(each, seen) for each in parts if each is not None)


def _is_model(annotation: Any) -> bool:
    if not isinstance(annotation, type) or issubclass(annotation, Event):
        return False
    if dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
        return True
    pydantic: Any = sys.modules.get("pydantic")  # a model's module has imported it
    base = getattr(pydantic, "BaseModel", None)
    return isinstance(base, type) and issubclass(annotation, base)


def _missing(annotation: Any) -> str:
    """Return why bodies cannot be parsed in this environment; "" if they can."""
    if importlib.util.find_spec("pydantic") is None:
        return (
            f"takes {_shown(annotation)}, which needs the package pydantic: add `pydantic>=2` to "
            "requirements.txt"
        )
    return ""


def _shown(annotation: Any) -> str:
    """Return the name of a type as the app writes it; the event's module is no part of its name."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation.__qualname__
    return f"{annotation}".replace(f"{Event.__module__}.", "")[:200]


def _is_static(found: Any) -> bool:
    call = inspect.getattr_static(type(found), "__call__", None)
    return not isinstance(found, MethodType) and isinstance(call, staticmethod)
