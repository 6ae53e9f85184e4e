"""The check that `breaker` and `processing` are the packages of this distribution.

Both names are ordinary words. A folder or a module of the user's app with such a name comes first
on Python's path, and hides the package.
"""

from importlib.util import find_spec
from pathlib import Path

OWN = ("breaker", "processing")


def check_packages() -> None:
    """Compare the places of the packages that Python finds with this package's place.

    Raises:
        ImportError: another module is in the way, or a package is missing.
    """
    home = Path(__file__).resolve().parents[1]
    for name in OWN:
        found = _place(name)
        if found is None:
            raise ImportError(
                f"Breakwater's package {name!r} is missing: it is installed in {home}, beside the "
                "package 'breakwater'. Install breakwater again",
                name=name,
            )
        if found.resolve() != home / name:
            kind = "folder" if found.is_dir() else "file"
            raise ImportError(
                f"`import {name}` finds the {kind} {found}, which hides Breakwater's package "
                f"{home / name}. Rename that {kind}, or move it where Python does not find it "
                f"as {name!r}",
                name=name,
                path=str(found),
            )


def _place(name: str) -> Path | None:
    """Return the folder of a package or the file of a module; None if Python finds neither."""
    try:
        spec = find_spec(name)
    except ValueError:  # a module that was put into sys.modules without a spec
        return Path(f"<{name} in sys.modules>")
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin or f"<{name}>")
