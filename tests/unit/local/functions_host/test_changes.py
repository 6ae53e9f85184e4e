"""The files whose change restarts an app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.functions_host import changes as watched
from local.functions_host.changes import changes, folders, watched_of
from tests.support.patience import HANG_SECONDS


def test_folders_of_tools_and_packages_are_not_watched(tmp_path: Path) -> None:
    for name in (
        "handlers/orders",
        ".git/objects",
        "node_modules/x",
        "env/lib",
        "__pycache__",
        "state/hosts",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert {str(path.relative_to(tmp_path)) for path in folders(tmp_path, tmp_path / "state")} == {
        ".",
        "handlers",
        "handlers/orders",
    }


def test_code_and_settings_are_watched(tmp_path: Path) -> None:
    names = ("b.py", "host.json", "sub/a.py", "notes.txt", "out.json", ".swap.py", "a.pyc")
    files = [tmp_path / name for name in names]
    assert watched_of(files, tmp_path) == ["b.py", "host.json", "sub/a.py"]


@pytest.fixture
async def found(tmp_path: Path) -> AsyncIterator[asyncio.Queue[list[str]]]:
    """Watch `tmp_path / "app"` and put each change into a queue."""
    app, queue = tmp_path / "app", asyncio.Queue[list[str]]()
    app.mkdir()

    async def watch() -> None:
        async for files in changes(app, tmp_path / "state"):
            queue.put_nowait(files)

    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        await asyncio.sleep(0)
        yield queue
        assert not task.done()
        task.cancel()


async def test_folder_that_comes_with_its_files_is_a_change(
    tmp_path: Path, found: asyncio.Queue[list[str]]
) -> None:
    package = tmp_path / "package" / "inner"
    package.mkdir(parents=True)
    (package / "orders.py").touch()
    (package.parent / "notes.txt").touch()
    package.parent.rename(tmp_path / "app" / "package")
    assert await found.get() == ["package/inner/orders.py"]
    (tmp_path / "app" / "package" / "inner" / "orders.py").write_text("1")
    assert await found.get() == ["package/inner/orders.py"]


async def test_folder_that_vanishes_while_it_is_listed_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: asyncio.Queue[list[str]]
) -> None:
    app = tmp_path / "app"
    gone, again = [app / "gone"] * 2, asyncio.Event()

    def listed(folder: Path, state: Path) -> list[Path]:
        if not gone:
            again.set()
        return [*folders(folder, state), *(gone.pop() for _ in gone[:1])]

    monkeypatch.setattr(watched, "folders", listed)
    (app / "new").mkdir()
    await again.wait()
    (app / "orders.py").touch()
    assert await found.get() == ["orders.py"]
