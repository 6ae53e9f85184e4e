"""Handlers whose call would fail or do nothing are refused at start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from processing.bootstrap import Application
from processing.errors import HandlerLoadError
from processing.handlers.loading import find_handler, load_handler
from scripts.load_app import SETTINGS
from tests.support.processing.events import event
from tests.unit.processing.handlers import odd_handlers

MODULE = odd_handlers.__name__

SEEN_BEFORE_THE_START = {
    "generator": "is a generator function",
    "async_generator": "is an async generator function",
    "manager": "is a context manager",
    "async_manager": "is a context manager",
    "wrapped_generator": "is a generator function.*; make its wrapper async, or remove functools",
    "wrapped_manager": "is a context manager",
    "twice_wrapped": "is an async generator function.*; make its wrapper async",
    "partial_generator": "is a generator function",
    "partial_partial": "is an async generator function",
    "partial_done": r"takes \(\), and is called with one event",
    "Generator": "is a class whose __call__ is a generator function",
    "StaticGenerator": "is a class whose __call__ is a generator function",
    "generator_instance": "is a generator function",
    "bound_generator": "is a generator function",
    "partial_of_instance": "is a generator function",
    "nothing": r"takes \(\), and is called with one event",
    "two": r"takes \(_event, _context\), and is called with one event",
    "keyword_only": r"takes \(event, \*, context\), and is called",
    "keyword": r"takes \(\*, event\), and is called",
    "NoCall": r"is the class NoCall, whose instances cannot be called",
    "NeedsArguments": "is the class NeedsArguments, whose constructor needs arguments",
    "TwoArguments": r"is a class whose __call__ takes \(self, event, context\)",
    "NoArguments": r"is a class whose __call__ takes \(self\)",
    "two_arguments_instance": r"takes \(event, context\), and is called",
    "Unbound.handle": r"takes \(self, event\), and is called",
    "MODULE_TEXT": "has no MODULE_TEXT",
    "ForgottenClassmethod": r"from_settings takes \(.*\), and is called with the app settings; it",
    "AsyncSettings": "from_settings is async; it takes @classmethod def from_settings",
    "YieldsSettings": "from_settings is a generator function",
    "SettingsNoMethod": "from_settings is no method; it takes @classmethod",
}
SEEN_WITH_AN_INSTANCE = {
    "FailingSettings": r"FailingSettings\.from_settings\(settings\) raised KeyError: 'BANK_URL'",
    "FailingConstructor": "FailingConstructor raised OSError: no such file",
    "BuildsGenerator": r"from_settings\(settings\) returned is a generator function",
    "BuildsNothing": r"from_settings\(settings\) returned is a NoneType, which cannot be called",
}
RUNS = {
    "handle",
    "driven_generator",
    "with_default",
    "with_anything",
    "positional",
    "partial_keyword",
    "BuildsHandler",
    "WithDefaults",
    "Inherited",
}


@pytest.mark.parametrize("name", SEEN_BEFORE_THE_START)
def test_handler_that_cannot_work_is_refused_before_the_start(name: str) -> None:
    """The check runs no code of the handler, and its message says what is accepted."""
    found = SEEN_BEFORE_THE_START[name]
    accepted = "" if "has no" in found else "; it takes a function of one event"
    expected = f"EVENT_HANDLER '{MODULE}:{name}'.*{found}.*{accepted}"
    with pytest.raises(HandlerLoadError, match=expected):
        Application(SETTINGS | {"EVENT_HANDLER": f"{MODULE}:{name}"}).check()
    with pytest.raises(HandlerLoadError, match=found):
        load_handler(f"{MODULE}:{name}", {})


@pytest.mark.parametrize("name", SEEN_WITH_AN_INSTANCE)
async def test_instance_that_cannot_work_is_refused_at_the_start(name: str) -> None:
    """The object that `from_settings` builds is checked, too; its errors name the handler."""
    find_handler(f"{MODULE}:{name}")
    handler = load_handler(f"{MODULE}:{name}", {})
    with pytest.raises(HandlerLoadError, match=SEEN_WITH_AN_INSTANCE[name]):
        await handler.start()


@pytest.mark.parametrize("name", sorted(RUNS))
async def test_odd_handler_that_works_is_accepted(name: str) -> None:
    """A check must not refuse what would run."""
    odd_handlers.handled.clear()
    handler = load_handler(f"{MODULE}:{name}", {}, timeout_seconds=60)
    await handler.start()
    async with asyncio.timeout(10):
        await handler.handle(event(1))
    await handler.aclose()
    assert odd_handlers.handled


def test_module_that_exits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that calls sys.exit must not end the host without a word."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(HandlerLoadError, match="importing exits failed: SystemExit: 3"):
        find_handler("exits:handle")
