"""Packages from npm that the local stack and the console need, and their installation.

A clone has them in its folder node_modules (`make setup`). An installed wheel gets each of them on
first use, with the versions and checksums of package-lock.json, into a folder of the user's cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from breaker.configuration.carried import is_installed, project_folder

CACHE_VARIABLE = "BREAKWATER_CACHE"
"""The environment variable that names another folder for the packages."""

_LOCK = "package-lock.json"
_FILES = ("package.json", _LOCK, "console/package.json")
_OPTIONS = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class NpmError(Exception):
    """A package from npm is missing and cannot be installed; the message says what to do."""


@dataclass(frozen=True)
class NodePackage:
    """A package of package-lock.json.

    Attributes:
        name: its name on npm.
        use: what needs it, for messages.
        options: the options of `npm ci` that select it and nothing else.
    """

    name: str
    use: str
    options: tuple[str, ...]


AZURITE = NodePackage("azurite", "the storage of the local stack", ("--workspaces=false",))
UPLOT = NodePackage("uplot", "the console's plots", ("--workspace=console",))


def package_folder(package: NodePackage) -> Path:
    """Return the folder of the package; it may not be installed yet."""
    home = _home(package) if is_installed() else project_folder()
    return home / "node_modules" / package.name


def how_to_install() -> str:
    """Return what installs a missing package, for error messages."""
    if is_installed():
        return "`breakwater up` installs it with npm"
    return "run `make setup` (or `npm ci`)"


def cache_folder() -> Path:
    """Return the user's cache folder for the packages: $BREAKWATER_CACHE, or the system's."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "breakwater"
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is invalid
    return (base if base.is_absolute() else Path.home() / ".cache") / "breakwater"


def install(package: NodePackage) -> None:
    """Install the package unless it is installed; in a clone do nothing.

    Two processes may call this at once: one installs, the other waits. A process that is killed
    leaves no half package behind, because a complete folder is renamed to its place. Progress and
    npm's messages go to standard error.

    Raises:
        NpmError: npm is missing or failed, or the cache folder cannot be written.
    """
    if not is_installed() or _home(package).is_dir():
        return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NpmError(
            f"{package.name} ({package.use}) comes through npm on first use, but there is no npm "
            "on PATH; install Node.js 20 or newer with npm"
        )
    home = _home(package)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _locked(home.with_name(f"{home.name}.lock"), package):
            if not home.is_dir():
                _install(package, npm, home)
    except OSError as error:
        raise NpmError(
            f"{package.name} cannot be installed into {home.parent} ({error.strerror}); "
            f"name another folder with {CACHE_VARIABLE}"
        ) from error


def _home(package: NodePackage) -> Path:
    """Return the package's folder in the cache, which no other lock file has."""
    digest = hashlib.sha256((project_folder() / _LOCK).read_bytes()).hexdigest()[:12]
    return cache_folder() / "npm" / f"{package.name}-{digest}"


@contextlib.contextmanager
def _locked(file: Path, package: NodePackage) -> Iterator[None]:
    """Hold a lock that the kernel releases when the process ends for any reason."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"Waiting for another process that installs {package.name}.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _install(package: NodePackage, npm: str, home: Path) -> None:
    _say(f"Installing {package.name} ({package.use}) with npm into {home.parent}, once.")
    partial = f"{home.name}.partial-"
    for left in home.parent.glob(f"{partial}*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=partial, dir=home.parent))
    try:
        for name in _FILES:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(project_folder() / name, folder / name)
        ended = subprocess.run(  # noqa: S603 - a fixed command
            [npm, "ci", *_OPTIONS, *package.options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if ended.returncode != 0 or not (folder / "node_modules" / package.name).is_dir():
            raise NpmError(
                f"npm could not install {package.name} (exit code {ended.returncode}; npm's "
                "messages are above); check the network and npm's registry, and try again"
            )
        folder.rename(home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _say(f"{package.name} is installed.")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
