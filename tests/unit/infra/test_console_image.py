"""Contents of the console's image, which has exactly the files that the console reads."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from console.web.pages import UPLOT

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "infra" / "console.Dockerfile").read_text()
COPIED = {"breaker", "processing", "breakwater", "console"}
WORKSPACE = "console/package.json"
LOCK = json.loads((ROOT / "package-lock.json").read_text())["packages"]


def copied() -> set[str]:
    """Return the sources of the Dockerfile's COPY lines; folders end with a slash."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {name for line in copies for name in line.split()}


def test_copied_paths_exist_and_are_not_ignored() -> None:
    sources = copied()
    assert WORKSPACE in sources
    sources.remove(WORKSPACE)  # the folder with this file is in COPIED
    assert {name.rstrip("/") for name in sources if name.endswith("/")} == COPIED
    admitted = (ROOT / ".dockerignore").read_text().splitlines()
    for name in sources:
        assert list(ROOT.glob(name.rstrip("/"))), name
        assert any(Path(name).match(line[1:].rstrip("/")) for line in admitted if line[:1] == "!")


def test_chart_library_is_copied_to_the_path_that_the_console_serves() -> None:
    place = UPLOT.relative_to(ROOT).as_posix()
    assert f"COPY --from=page /app/{place}/ {place}/" in DOCKERFILE


def npm_packages(options: list[str]) -> set[str]:
    """Return the names of the packages that npm installs from the lock with these options."""
    command = ["npm", "ls", "--package-lock-only", "--all", "--parseable", "--long", "--offline"]
    listed = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, check=True)
    paths = [Path(line.partition(":")[0]) for line in listed.stdout.decode().splitlines()]
    folders = [path.relative_to(ROOT).as_posix() for path in paths]
    return {name.rpartition("node_modules/")[2] for name in folders if "node_modules/" in name}


def test_image_installs_only_the_chart_library_from_npm() -> None:
    (command,) = re.findall(r"^RUN npm ci (.+)$", DOCKERFILE, re.MULTILINE)
    choice = re.findall(r"--(?:omit|include|workspace|include-workspace-root)\S*", command)
    assert npm_packages(choice) - {"breakwater-console"} == {"uplot"}


def test_demo_installs_no_package_that_only_lint_needs() -> None:
    development = set(LOCK[""]["devDependencies"])
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"^\t@npm ci .*(--omit=dev)\b", makefile, re.MULTILINE) == ["--omit=dev"]
    others = {
        name.rpartition("node_modules/")[2] for name, each in LOCK.items() if not each.get("dev")
    }
    assert {"azurite", "uplot"} <= others
    assert development and not development & others


def test_lock_holds_a_checksum_and_no_address_for_every_package() -> None:
    packages = {name: entry for name, entry in LOCK.items() if name.startswith("node_modules/")}
    links = {
        name: packages.pop(name)["resolved"]
        for name in list(packages)
        if packages[name].get("link")
    }
    assert links == {"node_modules/breakwater-console": "console"}
    assert [name for name, entry in packages.items() if "resolved" in entry] == []
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []


def imported(folder: Path) -> Iterator[str]:
    """Yield the top-level modules that a folder's files import."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]


def required(file: Path) -> set[str]:
    """Return the distributions that a requirements file names, also in the files it includes."""
    names: set[str] = set()
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            names |= required(file.parent / line[3:].strip())
        elif line and line[0] not in "#-":
            names.add(re.split(r"[=\s]", line)[0].lower())
    return names


def test_modules_that_the_console_imports_are_installed() -> None:
    """requirements-console.txt names each module's distribution, or one that requires it."""
    # The progress bar of the command line is used on an operator's machine only, and pytest in the
    # tests of an app. An app whose handler takes a pydantic model names pydantic in its
    # requirements.txt.
    wanted = set().union(*(imported(ROOT / name) for name in COPIED)) - {"rich", "pytest"}
    wanted -= {"pydantic", "pydantic_core"}
    wanted -= sys.stdlib_module_names | COPIED
    names = required(ROOT / "requirements-console.txt")
    names |= {
        re.split(r"[^\w-]", text)[0].lower() for name in names for text in requires(name) or ()
    }
    homes = packages_distributions()
    missing = {
        module
        for module in wanted
        if module != "azure" and not {home.lower() for home in homes[module]} & names
    }
    assert missing == set()


def test_image_loads_a_handler_as_the_documents_write_it(tmp_path: Path) -> None:
    for name in copied():
        if name.endswith("/"):
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__py*"))
    (handler,) = re.findall(
        r"```python\n(# orders\.py\n.*?)```",
        (ROOT / "docs" / "use-in-your-app.md").read_text(),
        re.DOTALL,
    )
    (tmp_path / "orders.py").write_text(handler)
    load = "from processing.handlers.loading import find_handler as f; print(f('orders:handle'))"
    # -S: this environment's own installation of the packages is no part of the image.
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", load],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.startswith("<function handle"), loaded.stderr
