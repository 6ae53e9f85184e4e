"""The event hubs of a stack: one, or those that the app's pipelines read."""

from __future__ import annotations

from collections.abc import Mapping

from breaker.configuration.pipelines import check_has_handler, pipelines_of
from local.services.event_hubs import Hub
from local.stack.kept import partitions_of
from local.state_directory import StateDirectory


def hubs_of(
    values: Mapping[str, str], directory: StateDirectory, partitions: int | None
) -> tuple[Hub, ...]:
    """Return the hubs that an app with these settings reads, in the order of its pipelines.

    Args:
        values: the app settings.
        directory: the stack's directory, with the hubs of the run before.
        partitions: see `partitions_of`; the same number for each hub.

    Raises:
        PipelineError: the settings of pipelines cannot be used, or one has no handler.
        KeptDataError: a hub has more partitions than requested.
        DamagedFileError: the record of a kept hub cannot be read.
    """
    names: dict[str, str] = {}
    groups: dict[str, dict[str, str]] = {}
    for each in pipelines_of(values):
        with each.explaining():
            check_has_handler(each.settings)
        hub = each.settings["EVENT_HUB_NAME"]
        group = each.settings["EVENT_HUB_CONSUMER_GROUP"] or "$Default"
        names.setdefault(hub.lower(), hub)  # hubs and groups are compared without case
        known = groups.setdefault(hub.lower(), {})
        if group.lower() != "$default":
            known.setdefault(group.lower(), group)
    return tuple(
        Hub(name, partitions_of(directory, name, partitions), tuple(groups[key].values()))
        for key, name in names.items()
    )
