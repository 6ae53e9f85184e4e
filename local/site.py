"""The wanted state of the function app: written by the management endpoint, read by the host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, get_args

State = Literal["Running", "Stopped"]


class SiteState:
    """The state of the site, stored in `<directory>/site.json`; the default is Running.

    A write renames a complete file into place, so that a reader never sees a partial file.
    """

    def __init__(self, directory: Path | str) -> None:
        self.path = Path(directory) / "site.json"

    def read(self) -> State:
        """Return the state.

        Raises:
            ValueError: the file exists but holds no state.
        """
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return "Running"
        try:
            state = json.loads(text)["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{self.path} holds {text[:80]!r}; it takes {{"state": "Running"}} or "Stopped"'
            ) from error
        return _checked(state)

    def write(self, state: State) -> None:
        """Store the state; a missing directory is created."""
        _checked(state)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(json.dumps({"state": state}) + "\n")
        fresh.replace(self.path)


def _checked(state: object) -> State:
    if state not in get_args(State):
        raise ValueError(f"site state is {state!r}; it takes one of {', '.join(get_args(State))}")
    return state  # type: ignore[return-value]
