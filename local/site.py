"""Whether the function app should run: what the management endpoint says and the host obeys."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, get_args

State = Literal["Running", "Stopped"]


class SiteState:
    """The state of the site, kept in `<directory>/site.json`; Running until somebody stops it.

    Writing renames a complete file into place, so that a reader never sees half of one.
    """

    def __init__(self, directory: Path | str) -> None:
        self.path = Path(directory) / "site.json"

    def read(self) -> State:
        """Return the state.

        Raises:
            ValueError: the file is there but holds no state.
        """
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return "Running"
        try:
            state = json.loads(text)["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.path} holds no site state: {text[:80]!r}") from error
        return _checked(state)

    def write(self, state: State) -> None:
        """Store the state; the directory is made if need be."""
        _checked(state)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps({"state": state}) + "\n")
        fresh.replace(self.path)


def _checked(state: object) -> State:
    if state not in get_args(State):
        raise ValueError(f"site state is {state!r}; it takes one of {', '.join(get_args(State))}")
    return state  # type: ignore[return-value]
