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

ARGUMENTS = (
    r"; a handler takes \(event: Event\), \(order: Order\), \(order: Order, event: Event\) or "
    r"\(events: list\[Event\]\), also as Sequence\[Event\]; Order is a pydantic model"
)
YIELD = "; a handler does its work when it is called, without `yield`"
FACTORY = r"; write @classmethod def from_settings\(cls, settings\)"

SEEN_BEFORE_THE_START = {
    "generator": f"is a generator function.*{YIELD}",
    "async_generator": f"is an async generator function.*{YIELD}",
    "manager": f"is a context manager.*{YIELD}",
    "async_manager": f"is a context manager.*{YIELD}",
    "wrapped_generator": "is a generator function.*; make its wrapper async, or remove functools",
    "wrapped_manager": f"is a context manager.*{YIELD}",
    "twice_wrapped": "is an async generator function.*; make its wrapper async",
    "partial_generator": f"is a generator function.*{YIELD}",
    "partial_partial": f"is an async generator function.*{YIELD}",
    "partial_done": rf"takes \(\), and is called with one event{ARGUMENTS}",
    "Generator": f"is a class whose __call__ is a generator function.*{YIELD}",
    "StaticGenerator": f"is a class whose __call__ is a generator function.*{YIELD}",
    "generator_instance": f"is a generator function.*{YIELD}",
    "bound_generator": f"is a generator function.*{YIELD}",
    "partial_of_instance": f"is a generator function.*{YIELD}",
    "nothing": rf"takes \(\), and is called with one event{ARGUMENTS}",
    "two": rf"takes \(_event, _context\), and is called with one event{ARGUMENTS}",
    "keyword_only": rf"takes \(event, \*, context\), and is called with one event{ARGUMENTS}",
    "keyword": rf"takes \(\*, event\), and is called with one event{ARGUMENTS}",
    "NoCall": r"is the class NoCall, whose instances cannot be called; add async def __call__",
    "NeedsArguments": f"is the class NeedsArguments, whose constructor needs arguments.*{FACTORY}",
    "TwoArguments": rf"whose __call__ takes \(self, event, context\), and.*{ARGUMENTS}",
    "NoArguments": rf"is a class whose __call__ takes \(self\), and.*{ARGUMENTS}",
    "two_arguments_instance": rf"takes \(event, context\), and is called with one event{ARGUMENTS}",
    "Unbound.handle": rf"takes \(self, event\), and is called with one event{ARGUMENTS}",
    "MODULE_TEXT": "has no 'MODULE_TEXT'",
    "number": "is an object of the type int, which cannot be called; a handler is a function",
    "ForgottenClassmethod": rf"from_settings takes \(.*\), and is called with.*{FACTORY}",
    "AsyncSettings": f"from_settings is async, which only start may be{FACTORY}",
    "YieldsSettings": f"from_settings is a generator function.*{FACTORY}",
    "SettingsNoMethod": f"from_settings is no method{FACTORY}",
}
SEEN_WITH_AN_INSTANCE = {
    "FailingSettings": r"FailingSettings\.from_settings\(settings\) raised KeyError: 'BANK_URL'",
    "FailingConstructor": "FailingConstructor raised OSError: no such file",
    "BuildsGenerator": r"from_settings\(settings\) returned is a generator function",
    "BuildsNothing": r"from_settings\(settings\) returned is an object of the type NoneType, which",
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
    expected = f"EVENT_HANDLER '{MODULE}:{name}'.*{found}"
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
    with pytest.raises(
        HandlerLoadError, match=r"importing exits failed at exits\.py:2: SystemExit: 3$"
    ):
        find_handler("exits:handle")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "import no_such_library",
            " at shop.py:2: ModuleNotFoundError: No module named 'no_such_library'; "
            "no_such_library must be beside function_app.py, or its package in requirements.txt",
        ),
        ("def broken(", ": SyntaxError: '(' was never closed (shop.py, line 2)"),
        ("URL = os.environ['NO_SUCH_URL']", " at shop.py:2: KeyError: 'NO_SUCH_URL'"),
        ("print(undefined)", " at shop.py:2: NameError: name 'undefined' is not defined"),
        (
            "from breakwater import Routes; r = Routes(by='t'); r.default(len); r.default(max)",
            " at shop.py:2: HandlerLoadError: two default handlers: len and max; there is one",
        ),
    ],
)
def test_error_of_an_import_names_the_line_and_no_wrong_remedy(
    code: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module was found, so the advice to put one beside function_app.py would mislead."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shop.py").write_text(f"import os\n{code}\n")
    with pytest.raises(HandlerLoadError) as refused:
        find_handler("shop:handle")
    assert f"importing shop failed{says}" in str(refused.value)
    assert "takes a module" not in str(refused.value)


@pytest.mark.parametrize("module", ["no_such_module", "json.no_such_part", "json.decoder.part"])
def test_missing_module_of_the_handler_is_named_with_its_place(module: str) -> None:
    says = f"importing {module} failed: ModuleNotFoundError: .*; it takes a module beside function"
    with pytest.raises(HandlerLoadError, match=says):
        find_handler(f"{module}:handle")


@pytest.mark.parametrize(
    ("attribute", "near"),
    [
        ("Unbuond", "'Unbound'"),
        (" nothing", "'nothing'"),
        ("Unbound.handel", "'Unbound'"),
        ("xyz_xyz", None),
    ],
)
def test_name_that_does_not_exist_gets_the_nearest_one(attribute: str, near: str | None) -> None:
    """The text offers functions and classes of the module, and none of its imports."""
    with pytest.raises(HandlerLoadError) as caught:
        find_handler(f"{MODULE}:{attribute}")
    text = str(caught.value)
    offered = "handle, generator, async_generator, "
    assert f"{MODULE} has no {attribute!r} (it has {offered}" in text
    assert " more)" in text
    assert "TYPE_CHECKING" not in text
    assert "functools" not in text
    assert text.endswith(f"; did you mean {near}?" if near else " more)")
