"""The wheels have every file of their packages, and ask for what the packages import."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

from breaker.configuration.version import VERSION
from local.services.child import REPOSITORY
from tests.integration.wheels.conftest import Wheels
from tests.support.wheels import FOLDERS, files_of, metadata_of

PACKAGES = (("breakwater", "breaker", "processing"), ("benchmarks", "console", "loadtest", "local"))


def files_in(*folders: str) -> set[str]:
    """Return the files of these folders of the repository, without caches of Python and editors."""
    return {
        file.relative_to(REPOSITORY).as_posix()
        for folder in folders
        for file in (REPOSITORY / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }


def test_wheels_have_every_file_of_their_packages(wheels: Wheels) -> None:
    """A Lua script, a page's file or py.typed that is left out would fail at run time only."""
    for wheel, folders in zip(wheels, PACKAGES, strict=True):
        found = {name for name in files_of(wheel) if not name.startswith("breakwater_local/")}
        modules = {"breakwater_pytest.py"} & found  # beside the packages
        assert found - modules == files_in(*folders) - {"console/package.json"}  # a carried file
    assert "breakwater_pytest.py" in files_of(wheels[0])
    assert {f"{name}/py.typed" for name in PACKAGES[0]} <= files_of(wheels[0])


def test_local_wheel_carries_the_files_of_the_repository(wheels: Wheels) -> None:
    carried = {
        name.removeprefix("breakwater_local/")
        for name in files_of(wheels[1])
        if name.startswith("breakwater_local/")
    }
    assert carried >= {"infra/workflow.json", "package.json", "package-lock.json", "host.json"}
    assert [name for name in carried if not (REPOSITORY / name).is_file()] == []


def test_version_has_one_place(wheels: Wheels) -> None:
    assert {metadata_of(wheel)["Version"] for wheel in wheels} == {VERSION}
    assert f"breakwater=={VERSION}" in metadata_of(wheels[1]).get_all("Requires-Dist", [])
    for folder in FOLDERS:
        assert not re.search(r"^version *=", (folder / "pyproject.toml").read_text(), re.MULTILINE)


def test_both_projects_have_the_same_license() -> None:
    """A source distribution cannot have a link, so the second project has a copy."""
    texts = {(folder / "LICENSE").read_text() for folder in FOLDERS}
    assert len(texts) == 1


def pinned(file: str) -> dict[str, str]:
    """Return the versions that a requirements file pins, by name; the newest if there are two."""
    lines = re.findall(r"^([\w.-]+)==([\w.]+)", (REPOSITORY / file).read_text(), re.MULTILINE)
    return {name.lower(): release for name, release in lines}


def required(wheel: Path) -> dict[str, Requirement]:
    """Return what a wheel requires, by name, with what its extras require."""
    lines = metadata_of(wheel).get_all("Requires-Dist", [])
    return {each.name.lower(): each for each in map(Requirement, lines)}


def test_requirements_of_the_wheels_take_the_pinned_versions(wheels: Wheels) -> None:
    """The tests run on the pins; a bound above a pin, or an upper one below it, was never tried."""
    pins = pinned("requirements-dev.txt") | pinned("requirements.txt")
    for wheel in wheels:
        others = {name: each for name, each in required(wheel).items() if name in pins}
        assert set(required(wheel)) - set(others) <= {"breakwater", "breakwater-local"}
        assert [
            str(each) for name, each in others.items() if pins[name] not in each.specifier
        ] == []


def test_wheels_require_what_azure_installs(wheels: Wheels) -> None:
    """A package that requirements.txt adds is required by a wheel too."""
    product, local = map(required, wheels)
    worker = {"azure-functions-runtime"}  # part of the platform, or of the local stack
    assert pinned("requirements.txt").keys() - product.keys() == worker
    assert worker <= local.keys()
