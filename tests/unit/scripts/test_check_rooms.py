"""`scripts.check_rooms` finds folders without a docstring and folders with too many modules."""

from __future__ import annotations

from scripts.check_rooms import MODULES, SMALL, main, problems


def test_tree_keeps_the_rules() -> None:
    assert main() == 0


def test_folder_without_a_docstring_is_named() -> None:
    files = ["console/__init__.py", "console/live/__init__.py", "console/poison/api.py"]
    assert problems(files, {"console": "The console.", "console/live": None}) == [
        "console/live/__init__.py: the docstring that names its concept is missing",
        "console/poison: __init__.py is missing; add it with a docstring",
    ]


def test_crowded_folder_is_named() -> None:
    uncounted = [f"{SMALL[0]}/__init__.py", f"{SMALL[0]}/__main__.py"]
    names = [f"{SMALL[0]}/module{number}.py" for number in range(MODULES)]
    docstrings = {SMALL[0]: "Events."}
    assert problems([*uncounted, *names], docstrings) == []
    (found,) = problems([*uncounted, *names, f"{SMALL[0]}/one_more.py"], docstrings)
    assert found.startswith(f"{SMALL[0]}: {MODULES + 1} modules")
