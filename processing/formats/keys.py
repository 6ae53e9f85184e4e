"""The version of the data's format, and the names of the keys in Redis.

Format 1 was written by version 0.1, which did not know of formats: `processing.migration` moves it.
From format 2 on, every partition's data carry the lowest version that may process the partition. An
older instance that meets a higher version starts no batch. Format 3 added deferred keys.
"""

from __future__ import annotations

from processing.errors import FormatError
from processing.identity import Identity, Source

FORMAT = 3
"""The version that this app reads and writes."""
OLDEST_FORMAT = 3
"""The lowest version that reads everything that this app writes."""


def partition_prefix(source: Source) -> str:
    """Return the prefix of all keys of one partition, which share one hash tag."""
    return f"breakwater:{{{source}}}:"


def parked_partitions_key(identity: Identity) -> str:
    """Return the key of the set of partitions with parked keys."""
    return f"breakwater:{{{identity}}}:parked"


def replays_key(identity: Identity) -> str:
    """Return the key of the heartbeat of the timer that replays deferred keys."""
    return f"breakwater:{{{identity}}}:replays"


def alive_key(identity: Identity) -> str:
    """Return the key of the heartbeats of the app's processes."""
    return f"breakwater:{{{identity}}}:alive"


def found_dead_key(identity: Identity) -> str:
    """Return the key of the processes of the app that others have found dead."""
    return f"breakwater:{{{identity}}}:found-dead"


def redrives_key(identity: Identity) -> str:
    """Return the key of the app's running redrives."""
    return f"breakwater:{{{identity}}}:redrives"


def hub_keys(identity: Identity) -> list[str]:
    """Return the keys of the hub that was last observed, and of the hub's changes."""
    prefix = f"breakwater:{{{identity}}}:hub"
    return [prefix, f"{prefix}-changes"]


def pipeline_names_key(identity: Identity) -> str:
    """Return the key of the names of all pipelines that have read the hub with the group."""
    where = f"{identity.namespace}/{identity.hub}/{identity.consumer_group}"
    return f"breakwater:{{{where}}}:pipelines"


def pipeline_reader_key(identity: Identity) -> str:
    """Return the key of the name of the pipeline that reads the hub with the group now."""
    return f"{pipeline_names_key(identity)}:reader"


def poison_index_keys(identity: Identity) -> list[str]:
    """Return the keys of the index of the poison queue, as its scripts take them."""
    prefix = f"breakwater:{{{identity}}}:poison-index:"
    return [prefix + name for name in ("entries", "order", "keys", "ids", "causes", "state")]


def newer_format(source: Source, lowest: int) -> FormatError:
    """Return the error for data of a newer version of the app."""
    return FormatError(
        f"the data of partition {source} in Redis require an app that reads format {lowest}; this "
        f"instance reads format {FORMAT}. A newer version of the app has processed the partition; "
        "deploy that version here, too. Nothing is processed and nothing is lost"
    )
