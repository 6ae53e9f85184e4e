"""Events of other apps: two apps may write to one poison queue, and each handles its own events.

An app is a namespace, a hub, a consumer group and a pipeline; see `processing.identity`. Messages
of version 0.1 name no namespace, so they belong to the app whose hub and consumer group they name.
"""

from __future__ import annotations

from collections.abc import Mapping

from processing.errors import OtherAppError
from processing.identity import PIPELINE, Identity
from processing.poison.message import PoisonMessage


def is_own(message: PoisonMessage, own: Identity) -> bool:
    """Return whether a message belongs to the app `own`."""
    return message.source.identity == own


def left_alone(others: Mapping[str, int]) -> str:
    """Return a line about the messages of other apps; "" if there are none.

    Args:
        others: the number of messages of each other app, by the app's name.
    """
    if not others:
        return ""
    number = sum(others.values())
    apps = ", ".join(
        name if len(others) == 1 else f"{name} ({count:,})"
        for name, count in sorted(others.items())
    )
    if number == 1:
        return f"1 message of another app was left alone: {apps}"
    of = "another app" if len(others) == 1 else "other apps"
    return f"{number:,} messages of {of} were left alone: {apps}"


def refusal(message: PoisonMessage, own: Identity) -> OtherAppError:
    """Return the error for an action on a message of another app."""
    owner = message.source.identity
    choose = "" if owner.pipeline == PIPELINE else f", and choose the pipeline {owner.pipeline}"
    return OtherAppError(
        f"event {message.id} belongs to the app {owner.app}, not to this app ({own.app}); nothing "
        "was changed. Run the command, or open the console, with the settings of that app"
        f"{choose}"
    )
