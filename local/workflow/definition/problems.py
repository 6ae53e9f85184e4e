"""The error of a definition that cannot be loaded."""

from __future__ import annotations


class DefinitionError(ValueError):
    """A definition that the service would refuse, or a part that the interpreter does not know.

    Attributes:
        action: name of the action or trigger; empty if the definition itself is wrong.
    """

    def __init__(self, message: str, action: str = "") -> None:
        super().__init__(f"{action}: {message}" if action else message)
        self.action = action
