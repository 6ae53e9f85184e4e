"""Both wheels, built once for all tests of this folder, and unpacked as pip does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.wheels import build_wheels, unpack

type Wheels = tuple[Path, Path]


@pytest.fixture(scope="package")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """Return the files of the wheels `breakwater` and `breakwater-local`."""
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="package")
def installed(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the packages of both wheels; their requirements are in .venv."""
    target = tmp_path_factory.mktemp("installed")
    unpack(wheels, target)
    return target
