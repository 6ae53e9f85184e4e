"""Handlers that cannot do their work, and handlers that can although they look odd."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

from processing.event import Event

handled: list[int] = []


async def handle(event: Event) -> None:
    handled.append(event.sequence_number)


def generator(_event: Event) -> Iterator[None]:
    yield


async def async_generator(_event: Event) -> AsyncIterator[None]:
    yield


@contextmanager
def manager(_event: Event) -> Iterator[None]:
    yield


@asynccontextmanager
async def async_manager(_event: Event) -> AsyncIterator[None]:
    yield


def logged(function: Callable[[Event], Any]) -> Callable[[Event], Any]:
    """Return a plain function around a function, as many decorators do."""

    @functools.wraps(function)
    def wrapper(event: Event) -> Any:
        return function(event)

    return wrapper


def driven(function: Callable[[Event], Iterator[None]]) -> Callable[[Event], Any]:
    """Return an async function that iterates over a generator, which is how its code runs."""

    @functools.wraps(function)
    async def wrapper(event: Event) -> None:
        handled.extend(event.sequence_number for _ in function(event))

    return wrapper


wrapped_generator = logged(generator)
wrapped_manager = logged(manager)
twice_wrapped = logged(logged(async_generator))
driven_generator = driven(generator)
partial_generator = functools.partial(generator)
partial_partial = functools.partial(functools.partial(async_generator))


class Generator:
    def __call__(self, _event: Event) -> Iterator[None]:
        yield

    def method(self, _event: Event) -> Iterator[None]:
        yield


generator_instance = Generator()
bound_generator = Generator().method
partial_of_instance = functools.partial(Generator())


class StaticGenerator:
    @staticmethod
    def __call__(_event: Event) -> Iterator[None]:
        yield


def nothing() -> None: ...


def two(_event: Event, _context: object) -> None: ...


def keyword_only(event: Event, *, context: object) -> None:
    handled.append(event.sequence_number)


def keyword(*, event: Event) -> None: ...


async def with_default(event: Event, times: int = 1) -> None:
    handled.append(event.sequence_number * times)


async def with_anything(*args: Any, **_: Any) -> None:
    handled.append(args[0].sequence_number)


def positional(event: Event, /) -> None:
    handled.append(event.sequence_number)


partial_keyword = functools.partial(keyword_only, context=None)
_positional: Any = positional
partial_done = functools.partial(_positional, None)


class NoCall:
    pass


class NeedsArguments:
    def __init__(self, url: str) -> None: ...

    async def __call__(self, event: Event) -> None: ...


class TwoArguments:
    async def __call__(self, event: Event, context: object) -> None: ...


class NoArguments:
    async def __call__(self) -> None: ...


two_arguments_instance = TwoArguments()


class Unbound:
    async def handle(self, event: Event) -> None: ...


class FailingSettings:
    @classmethod
    def from_settings(cls, _settings: Mapping[str, str]) -> Self:
        raise KeyError("BANK_URL")

    async def __call__(self, event: Event) -> None: ...


class ForgottenClassmethod:
    def from_settings(self, _settings: Mapping[str, str]) -> Self:
        return self

    async def __call__(self, event: Event) -> None: ...


class AsyncSettings:
    @classmethod
    async def from_settings(cls, _settings: Mapping[str, str]) -> Self:
        return cls()

    async def __call__(self, event: Event) -> None: ...


class YieldsSettings:
    @classmethod
    def from_settings(cls, _settings: Mapping[str, str]) -> Iterator[Self]:
        yield cls()

    async def __call__(self, event: Event) -> None: ...


class SettingsNoMethod:
    from_settings = "later"

    async def __call__(self, event: Event) -> None: ...


class FailingConstructor:
    def __init__(self) -> None:
        raise OSError("no such file")

    async def __call__(self, event: Event) -> None: ...


class BuildsGenerator:
    @classmethod
    def from_settings(cls, _settings: Mapping[str, str]) -> Any:
        return generator


class BuildsNothing:
    @classmethod
    def from_settings(cls, _settings: Mapping[str, str]) -> None:
        return None


class BuildsHandler:
    """A class whose instances cannot be called, but which builds a handler."""

    @classmethod
    def from_settings(cls, _settings: Mapping[str, str]) -> Any:
        return handle


class WithDefaults:
    def __init__(self, url: str = "") -> None: ...

    async def __call__(self, event: Event) -> None:
        handled.append(event.sequence_number)


class Inherited(WithDefaults):
    pass


number = 3
