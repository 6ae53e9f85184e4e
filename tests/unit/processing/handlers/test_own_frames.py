"""The user's own frames of an error, and the line of a log about it."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from breaker.configuration.lookup import value_of
from processing.errors import PoisonEventError
from processing.event import Event
from processing.formats.event_fields import key_hash
from processing.handlers.failure_line import LONGEST_MESSAGE, error_line, failure_line
from processing.handlers.loading import find_handler
from processing.handlers.own_frames import FRAME_BYTES, MOST_FRAMES, own_frames
from processing.handlers.retry import RetryPolicy
from tests.support.processing.events import event

CODE = """
import json
from processing.event import Event

def charge(order):
    return order["amount"] / order["count"]

def handle(event):
    charge(event.json())

def translate(event):
    try:
        handle(event)
    except ZeroDivisionError as error:
        raise ValueError("no count") from error

def parse(event):
    json.loads("{")

def recurse(event, depth=30):
    return recurse(event, depth - 1) if depth else 1 / 0

async def in_a_group(event):
    import asyncio
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())

async def fail():
    raise LookupError("in a task")
"""


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of a user, in a folder of Python's path."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "orders_app").mkdir()
    (tmp_path / "orders_app" / "handlers.py").write_text(CODE)
    module = ModuleType("orders_app.handlers")
    exec(compile(CODE, str(tmp_path / "orders_app" / "handlers.py"), "exec"), module.__dict__)  # noqa: S102
    return module


def order(**values: Any) -> Event:
    return event(0, body=json.dumps(values).encode())


def raised(module: ModuleType, name: str, each: Event) -> Exception:
    try:
        getattr(module, name)(each)
    except Exception as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        return error
    raise AssertionError


def test_frames_are_file_line_and_function(orders: ModuleType) -> None:
    error = raised(orders, "handle", order(amount=1, count=0))
    assert own_frames(error) == (
        "orders_app/handlers.py:9 handle",
        "orders_app/handlers.py:6 charge",
    )


def test_frames_of_causes_follow(orders: ModuleType) -> None:
    error = raised(orders, "translate", order(amount=1, count=0))
    assert own_frames(error) == (
        "orders_app/handlers.py:15 translate",
        "orders_app/handlers.py:13 translate",
        "orders_app/handlers.py:9 handle",
        "orders_app/handlers.py:6 charge",
    )


@pytest.mark.parametrize("name", ["handle", "parse"])
def test_frames_of_the_product_and_of_python_are_left_out(orders: ModuleType, name: str) -> None:
    """`Event.json` and `json.loads` raise these errors."""
    frames = own_frames(raised(orders, name, event(0, body=b"{")))
    assert [frame.partition(":")[0] for frame in frames] == ["orders_app/handlers.py"]


def test_frames_of_installed_packages_are_left_out() -> None:
    try:
        pytest.importorskip("no_such_package_at_all", reason="x" * 3)
    except BaseException as error:
        frames = own_frames(error)
    assert [frame.rpartition(" ")[2] for frame in frames] == [
        "test_frames_of_installed_packages_are_left_out"
    ]


def test_error_without_own_frames_has_none() -> None:
    try:
        value_of({}, None)  # type: ignore[arg-type]
    except Exception as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        assert own_frames(error) == ()


async def test_frames_of_a_task_group_include_the_task(orders: ModuleType) -> None:
    with pytest.raises(ExceptionGroup) as group:
        await orders.in_a_group(event(0))
    assert own_frames(group.value)[-1] == "orders_app/handlers.py:29 fail"


def test_only_the_innermost_frames_are_kept(orders: ModuleType) -> None:
    frames = own_frames(raised(orders, "recurse", event(0)))
    assert frames == ("orders_app/handlers.py:21 recurse",)  # equal frames are one

    names = [f"step_{n}" for n in range(20)]
    code = "\n".join(
        f"def {name}(): {after}()" for name, after in zip(names, [*names[1:], "end"], strict=True)
    )
    module: dict[str, Any] = {}
    long = f"/{'x' * 300}.py"
    exec(compile(f"{code}\ndef end(): raise LookupError\n", long, "exec"), module)  # noqa: S102
    with pytest.raises(LookupError) as found:
        module["step_0"]()
    frames = own_frames(found.value)
    assert len(frames) == MOST_FRAMES
    assert frames[-1].endswith("xx.py:21 end")
    assert max(map(len, frames)) <= FRAME_BYTES


def test_line_has_type_message_key_hash_and_frames(orders: ModuleType) -> None:
    each = order(amount=1, count=0)
    line = failure_line(each, raised(orders, "translate", each))
    assert line == (
        f"builtins.ValueError: no count; key hash {key_hash('k')}; at "
        "orders_app/handlers.py:15 translate, orders_app/handlers.py:13 translate, "
        "orders_app/handlers.py:9 handle, orders_app/handlers.py:6 charge"
    )


@pytest.mark.parametrize(
    ("body", "message", "shown"),
    [
        (b'{"name": "Ada Lovelace"}', "no customer Ada Lovelace", "no customer (…)"),
        (b'{"name": "Ada Lovelace"}', "bad {'name': 'Ada Lovelace'}", "bad {'name': '(…)'}"),
        (b'{"name": "Ada"}', 'bad {"name": "Ada"}', "bad (…)"),
        (b'{"a": [{"b": 123456}]}', "no account 123456", "no account (…)"),
        (b"card=4929000000006", "no account 4929000000006", "no account (…)"),
        (b"\xff\xfe\xfd\xfc", r"bad b'\xff\xfe\xfd\xfc'", "bad (…)"),
        (b'{"amount": 1}', "no amount", "no amount"),
        (b"x", "exactly", "exactly"),
        (b"{}", "no 0123456789-key", "no (…)"),
        (
            b'{"n": "a"}',
            "1 error\nn\n  no integer [type=int_parsing, input_value={'a': 'b'}, input_type=str]",
            "1 error n no integer [type=int_parsing]",
        ),
        (
            b'{"n": "a"}',
            "n [type=a, input_value='x, input_type=x] of Main Street', input_type=str] end",
            "n [type=a] end",
        ),
        (b'{"n": "a"}', "n [type=a, input_value=<A\nStreet>, input_type=A]", "n [type=a]"),
        (b'{"n": "a"}', "n [type=a, input_value={'street': 'Ma", "n [type=a]"),
        (
            b'{"a": "order of Ada Lovelace", "b": "order of Ada Byron"}',
            "no order of Ada Lovel! order of Ada Byr",
            "no (…)! (…)",
        ),
        (b'{"name": "Ada Lovelace"}', repr(b'{"name": "Ada Lovelace"}'[:20]), "(…)'"),
    ],
)
def test_line_has_nothing_of_the_body(body: bytes, message: str, shown: str) -> None:
    """The log is for more readers than the poison queue."""
    line = error_line("E", message, (), key="0123456789-key", body=body)
    assert line == f"E: {shown}; key hash {key_hash('0123456789-key')}"


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        ("cannot store ", "cannot store (…)…"),
        (f"no {'-' * 1_992}", "no (…)(…)…"),
        (f"{'-' * 1_960} 1234567890 ", "(…) 1234567890 (…)…"),
    ],
)
def test_long_value_is_not_shown_because_its_message_was_cut(before: str, shown: str) -> None:
    """A message has at most 2,000 characters before the values are searched."""
    value = "My secret history: " + "diabetes " * 400
    body = json.dumps({"text": value, "long": "-" * 1_960}).encode()
    line = failure_line(replace(event(0), body=body), ValueError(f"{before}{value}"))
    assert line == f"builtins.ValueError: {shown}; key hash {key_hash('k')}"


@pytest.mark.parametrize("body", [None, b"x" * 70_000])
def test_line_without_a_searched_body_has_no_message(body: bytes | None) -> None:
    assert error_line("E", "secret", (), key=None, body=body) == "E"


def test_long_message_is_cut() -> None:
    line = error_line("E", "a b " * 1000, (), key=None, body=b"")
    assert len(line) == LONGEST_MESSAGE + len("E: ")


async def test_each_failed_attempt_is_logged_at_debug(
    orders: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "processing.handlers.retry")

    async def handle(each: Event) -> None:
        orders.handle(each)

    async def pause(_seconds: float) -> None:
        return

    policy = RetryPolicy(max_attempts=3, initial_seconds=0, max_seconds=1, sleep=pause)
    failure = await policy.run(handle, order(amount=1, count=0))
    assert failure is not None
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(" failed as ")[0] for text in texts] == [
        f"Attempt {n} at event {event(0).id}" for n in (1, 2, 3)
    ]
    assert {text.rpartition(", ")[2] for text in texts} == {"orders_app/handlers.py:6 charge"}


async def test_failed_attempt_costs_nothing_above_debug(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line reads the event's body."""
    caplog.set_level(logging.INFO, "processing.handlers.retry")
    lines: list[object] = []
    monkeypatch.setattr(sys.modules[RetryPolicy.__module__], "failure_line", lines.append)

    async def handle(_each: Event) -> None:
        raise PoisonEventError("no amount")

    policy = RetryPolicy(max_attempts=3, initial_seconds=0, max_seconds=1)
    assert await policy.run(handle, event(0)) is not None
    assert lines == []


@pytest.mark.parametrize("file", ["shop.py", "shop/__init__.py"])
def test_frames_of_an_installed_handler_are_its_own(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EVENT_HANDLER takes an installed module, too."""
    place = tmp_path / "site-packages" / file
    place.parent.mkdir(parents=True)
    place.write_text("def handle(event):\n    raise LookupError\n")
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    handle = find_handler("shop:handle")
    with pytest.raises(LookupError) as raised:
        handle(event(1))
    del sys.modules["shop"]
    assert own_frames(raised.value)[-1] == f"{file}:2 handle"
