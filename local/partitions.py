"""The owner, the remaining lease time and the lag of each partition."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from local.files import read_json
from local.state_directory import StateDirectory

_BLOB = re.compile(
    r"(?P<namespace>[^/]+)/(?P<hub>[^/]+)/(?P<group>[^/]+)/(?P<kind>ownership|checkpoint)/(?P<id>[^/]+)"
)
_NUMBER = re.compile(r"-?[0-9]{1,19}")
_OWNER = re.compile(r"(?P<pid>\d+)-[0-9a-f-]+")
_PATIENCE = 2.0


@dataclass(frozen=True)
class Partition:
    """One line of the table of partitions.

    Attributes:
        owner: such as `instance 0 (pid 12)`; None for a partition without an owner.
        owner_id: the owner's id in the ownership blob.
        lease_left_seconds: negative after the lease has expired; None without an owner, or when
            no live host announces its lease length.
        lag: the number of events after the checkpoint; None when the hub's last sequence number is
            unknown or below the checkpoint, as after the hub was recreated.
    """

    event_hub: str
    consumer_group: str
    partition: str
    owner: str | None = None
    owner_id: str | None = None
    lease_left_seconds: float | None = None
    checkpoint_offset: str | None = None
    checkpoint_sequence_number: int | None = None
    last_sequence_number: int | None = None
    lag: int | None = None


@dataclass(frozen=True)
class HostBlob:
    """The name, metadata and modification time (seconds since 1970) of a blob of the hosts."""

    name: str
    metadata: Mapping[str, str]
    modified: float


def partition_table(
    blobs: Iterable[HostBlob],
    hubs: Iterable[Mapping[str, Any]],
    hosts: Mapping[int, Mapping[str, Any]],
    now: float,
) -> list[Partition]:
    """Combine the answers of storage, the hub and the hosts; a pure function.

    Args:
        blobs: the blobs of the container in which hosts keep ownership and checkpoints.
        hubs: the hubs as the endpoint's control port describes them; empty without an answer.
        hosts: the announcements of live instances, by process id.
        now: seconds since 1970.
    """
    found: dict[tuple[str, str, str], dict[str, HostBlob]] = {}
    logs = {
        (str(hub["name"]).lower(), str(log["partition"])): log
        for hub in hubs
        for log in hub["partitions"]
    }
    for blob in blobs:
        if match := _BLOB.fullmatch(blob.name):
            place = (match["hub"], match["group"], match["id"])
            found.setdefault(place, {})[match["kind"]] = blob
    for hub, group in {(hub, group) for hub, group, _ in found}:
        for name, partition in logs:
            if name == hub:  # also partitions that no host has claimed yet
                found.setdefault((hub, group, partition), {})
    return [
        _line(place, found[place], logs.get((place[0], place[2])), hosts, now)
        for place in sorted(found, key=lambda place: (*place[:2], _number(place[2])))
    ]


def _line(
    place: tuple[str, str, str],
    blobs: Mapping[str, HostBlob],
    log: Mapping[str, Any] | None,
    hosts: Mapping[int, Mapping[str, Any]],
    now: float,
) -> Partition:
    ownership, checkpoint = blobs.get("ownership"), blobs.get("checkpoint")
    owner_id = ownership.metadata.get("ownerid") or None if ownership else None
    sequence = checkpoint.metadata.get("sequencenumber") if checkpoint else None
    number = int(sequence) if sequence and _NUMBER.fullmatch(sequence) else None
    return Partition(
        *place,
        owner=_owner(owner_id, hosts),
        owner_id=owner_id,
        lease_left_seconds=_lease_left(ownership, owner_id, hosts, now),
        checkpoint_offset=checkpoint.metadata.get("offset") if checkpoint else None,
        checkpoint_sequence_number=number,
        last_sequence_number=None if log is None else int(log["last_sequence_number"]),
        lag=None if log is None else _lag(log, number),
    )


def _owner(owner_id: str | None, hosts: Mapping[int, Mapping[str, Any]]) -> str | None:
    if owner_id is None:
        return None
    match = _OWNER.fullmatch(owner_id)
    if match is None:
        return owner_id
    host = hosts.get(int(match["pid"]))
    return (
        f"pid {match['pid']} (gone)"
        if host is None
        else f"instance {host.get('instance', '?')} (pid {match['pid']})"
    )


def _lease_left(
    ownership: HostBlob | None,
    owner_id: str | None,
    hosts: Mapping[int, Mapping[str, Any]],
    now: float,
) -> float | None:
    """Return the seconds left; the shortest lease of a live host decides, because it takes over."""
    leases = [float(host["lease_seconds"]) for host in hosts.values() if "lease_seconds" in host]
    if ownership is None or owner_id is None or not leases:
        return None
    return round(ownership.modified + min(leases) - now, 1)


def _lag(log: Mapping[str, Any], checkpoint: int | None) -> int | None:
    last, begin = int(log["last_sequence_number"]), int(log["begin_sequence_number"])
    if checkpoint is not None and checkpoint > last:
        return None
    # Events removed by retention do not count as lag.
    return last - max(begin - 1, -1 if checkpoint is None else checkpoint)


def _number(partition: str) -> tuple[int, str]:
    return (int(partition) if partition.isdigit() else -1, partition)


def read_partitions(directory: StateDirectory) -> dict[str, Any]:
    """Query storage and the hub, and return {"partitions": [...], "problems": [text, ...]}.

    Each item of `partitions` is a `Partition` as a dict. Each problem names a service that did not
    answer and the data that is missing in the table.
    """
    problems: list[str] = []
    endpoints = directory.endpoints()
    if endpoints is None:
        return {"partitions": [], "problems": problems}
    blobs = _ask("storage", "partitions cannot be shown", problems, _read_blobs, endpoints)
    hubs = []
    if blobs:
        hubs = _ask("Event Hubs", "the lag is unknown", problems, _read_hubs, endpoints)
    table = partition_table(blobs, hubs, _read_hosts(directory), time.time())
    return {"partitions": [asdict(line) for line in table], "problems": problems}


def _ask(
    service: str, missing: str, problems: list[str], read: Any, endpoints: dict[str, Any]
) -> Any:
    try:
        return read(endpoints)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        problems.append(f"{service} did not answer, {missing}: {reason}")
        return []


def _read_blobs(endpoints: dict[str, Any]) -> list[HostBlob]:
    # Slow to load, and needed only while a stack is up.
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415
    from azure.storage.blob import ContainerClient  # noqa: PLC0415

    with ContainerClient.from_connection_string(
        endpoints["storage_connection_string"],
        "azure-webjobs-eventhub",
        retry_total=0,
        connection_timeout=_PATIENCE,
        read_timeout=_PATIENCE,
    ) as container:
        try:
            return [
                HostBlob(blob.name, blob.metadata or {}, blob.last_modified.timestamp())
                for blob in container.list_blobs(include=["metadata"])
            ]
        except ResourceNotFoundError:
            return []  # no host has run yet


def _read_hubs(endpoints: dict[str, Any]) -> list[dict[str, Any]]:
    import httpx  # noqa: PLC0415 - see _read_blobs

    url = f"{endpoints['event_hub_control_url']}/hubs"
    answer = httpx.get(url, timeout=_PATIENCE, trust_env=False)
    hubs: list[dict[str, Any]] = answer.raise_for_status().json()["hubs"]
    return hubs


def _read_hosts(directory: StateDirectory) -> dict[int, dict[str, Any]]:
    records = {pid: read_json(directory.hosts / f"{pid}.json") for pid in directory.live_hosts()}
    return {pid: record for pid, record in records.items() if record is not None}
