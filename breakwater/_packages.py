"""The check that `breaker` and `processing` are the packages of this distribution.

Both names are ordinary words. A folder or a module of the user's app with such a name comes first
on Python's path, and hides the package.
"""

import os
from importlib.util import find_spec

OWN = ("breaker", "processing")


def check_packages() -> None:
    """Compare the places of the packages that Python finds with this package's place.

    Raises:
        ImportError: another module is in the way, or a package is missing.
    """
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120
    for name in OWN:
        own = os.path.join(home, name)  # noqa: PTH118 - each start would wait for pathlib
        found = _place(name)
        if found is None:
            raise ImportError(
                f"Breakwater's package {name!r} is missing: it is installed in {home}, beside the "
                "package 'breakwater'. Install breakwater again",
                name=name,
            )
        if os.path.realpath(found) != own:
            kind = "folder" if os.path.isdir(found) else "file"  # noqa: PTH112
            raise ImportError(
                f"`import {name}` finds the {kind} {found}, which hides Breakwater's package "
                f"{own}. Rename that {kind}, or move it where Python does not find it as {name!r}",
                name=name,
                path=found,
            )


def _place(name: str) -> str | None:
    """Return the folder of a package or the file of a module; None if Python finds neither."""
    try:
        spec = find_spec(name)
    except ValueError:  # a module that was put into sys.modules without a spec
        return f"<{name} in sys.modules>"
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return next(iter(spec.submodule_search_locations))
    return spec.origin or f"<{name}>"
