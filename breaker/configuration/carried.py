"""Files of the repository that are no Python modules, in a clone and in an installed wheel.

The wheel `breakwater-local` carries such files in the folder `breakwater_local`, under the paths
that they have in the repository (wheels/local/hatch_build.py). In a clone the repository itself
has them.
"""

from __future__ import annotations

import sys
from pathlib import Path

IMPORT_ROOT = Path(__file__).resolve().parents[2]
"""The folder with the packages: the repository's root, or site-packages."""

_CARRIED = IMPORT_ROOT / "breakwater_local"


def is_installed() -> bool:
    """Return whether the packages come from the wheels and not from a clone."""
    return _CARRIED.is_dir()


def project_folder() -> Path:
    """Return the folder with infra/, function_app.py and the other files of the repository."""
    return _CARRIED if is_installed() else IMPORT_ROOT


def python_module(name: str) -> tuple[str, ...]:
    """Return the command that runs a module of the project in the current folder of a user.

    An installed module comes before a module of the same name in that folder, such as a `local.py`
    of the user's app. A clone need not be installed, so there the folder comes first as usual.
    """
    options = ("-P",) if is_installed() else ()
    return (sys.executable, *options, "-m", name)
