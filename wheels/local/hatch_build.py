"""Build hooks of the wheel `breakwater-local`, which is made of folders of the repository.

In a clone these folders are two levels up. In the source distribution they are beside this file.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

PACKAGES = ("benchmarks", "console", "loadtest", "local")
CARRIED = (
    "function_app.py",
    "host.json",
    "infra/settings.json",
    "infra/workflow.json",
    "package.json",
    "package-lock.json",
    "console/package.json",
)
"""Files that breaker/configuration/carried.py finds below `breakwater_local` in the wheel."""

VERSION = "breaker/configuration/version.py"


def repository(folder: Path) -> Path:
    """Return the folder with the packages: the source distribution itself, or the clone."""
    return folder if (folder / "local").is_dir() else folder.parents[1]


class CustomMetadataHook(MetadataHookInterface):
    """The version, which is the product's, and the dependencies."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the two dynamic fields."""
        root = Path(self.root)
        found = re.search(r'^VERSION = "(.+)"', (repository(root) / VERSION).read_text(), re.M)
        if found is None:
            raise ValueError(f'{VERSION} has no line VERSION = "…"')
        project = tomllib.loads((root / "pyproject.toml").read_text())
        metadata["version"] = found[1]
        metadata["dependencies"] = [
            f"breakwater=={found[1]}",
            *project["tool"]["breakwater-local"]["dependencies"],
        ]


def _is_private(name: str) -> bool:
    """Return whether a file or folder is of one machine only, such as settings with keys."""
    return name.startswith((".", "local.settings")) or name in {"__pycache__", "node_modules"}


class CustomBuildHook(BuildHookInterface[Any]):
    """The files of the wheel and of the source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name each file that goes in; an editable install takes none."""
        if version == "editable":
            return
        root = repository(Path(self.root))
        files = build_data["force_include"]
        for name in PACKAGES:
            for file in sorted((root / name).rglob("*")):
                name_in_root = file.relative_to(root)
                if file.is_file() and not any(map(_is_private, name_in_root.parts)):
                    files[str(file)] = name_in_root.as_posix()
        place = "" if self.target_name == "sdist" else "breakwater_local/"
        for name in CARRIED:
            files[str(root / name)] = place + name
        if self.target_name == "sdist":
            files[str(root / VERSION)] = VERSION
