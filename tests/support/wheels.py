"""The two wheels of the project, built and installed without network."""

from __future__ import annotations

import os
import subprocess
import sys
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

from local.services.child import REPOSITORY

FOLDERS = (REPOSITORY, REPOSITORY / "wheels" / "local")
"""The folders of the projects `breakwater` and `breakwater-local`."""

STORE = REPOSITORY / ".wheels"
"""The wheels of other projects that `make setup` has stored."""


def build_wheels(target: Path) -> tuple[Path, Path]:
    """Build both wheels into a folder; return the product's and the local one's file."""
    for folder in FOLDERS:
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=folder)
    (product,) = target.glob("breakwater-*.whl")
    (local,) = target.glob("breakwater_local-*.whl")
    return product, local


def unpack(wheels: tuple[Path, ...], target: Path) -> None:
    """Put the packages of wheels into a folder, as pip does without their requirements."""
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
        *("--no-compile", "--disable-pip-version-check", "--target", str(target)),
        *map(str, wheels),
    )


def files_of(wheel: Path) -> set[str]:
    """Return the paths of a wheel's files without its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata_of(wheel: Path) -> Message:
    """Return the METADATA of a wheel."""
    with ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def outside(*folders: Path, **variables: object) -> dict[str, str]:
    """Return an environment that imports from these folders and not from the repository."""
    values = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = os.pathsep.join(map(str, folders))
    return values | {"PYTHONPATH": path} | {name: str(value) for name, value in variables.items()}


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
    code: int = 0,
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends with this exit code; return its output."""
    ended = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, f"{command}:\n{ended.stdout}{ended.stderr}"
    return ended
