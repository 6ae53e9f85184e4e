"""Checks of ports before a start, and error messages with the remedy."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterator

import pytest

from local.services import port_reservation
from local.services.port_reservation import reserve
from local.services.ports import DEFAULT_PORTS, PortChoice, PortError, ensure_free, free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_taken_port_is_named_with_its_service_and_the_remedy(taken: int) -> None:
    with pytest.raises(PortError) as error:
        PortChoice({"redis": taken}, ephemeral=True).resolve()
    message = str(error.value)
    assert f"port {taken} for redis is taken" in message
    assert "--port-redis" in message
    assert "--ephemeral-ports" in message


def test_ephemeral_ports_are_different_and_keep_given_ports() -> None:
    given = free_port()
    ports = PortChoice({"cloud": given}, ephemeral=True).resolve()
    assert ports["cloud"] == given
    assert set(ports) == set(DEFAULT_PORTS)
    assert len(set(ports.values())) == len(DEFAULT_PORTS)


def test_zero_asks_for_any_free_port() -> None:
    others = {name: free_port() for name in DEFAULT_PORTS if name != "blob"}
    assert PortChoice(others | {"blob": 0}).resolve()["blob"] > 0


def test_ports_of_the_run_before_are_used_again(taken: int) -> None:
    """An explicit port comes first. A port that is taken is named, or replaced if any port fits."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        before = closed.getsockname()[1]
    given = free_port()
    kept = {"redis": before, "cloud": 1, "redis-proxy": 2}
    ports = PortChoice({"cloud": given}, ephemeral=True).resolve(kept)
    assert (ports["redis"], ports["cloud"]) == (before, given)
    assert "redis-proxy" not in ports
    others = {name: free_port() for name in DEFAULT_PORTS if name != "redis"}
    assert PortChoice(others).resolve({"redis": before})["redis"] == before
    with pytest.raises(PortError, match=f"port {taken} for redis is taken"):
        PortChoice(others).resolve({"redis": taken})
    assert PortChoice({}, ephemeral=True).resolve({"redis": taken})["redis"] != taken


def test_one_port_for_two_services_is_refused() -> None:
    port = free_port()
    with pytest.raises(PortError, match=f"both request port {port}"):
        PortChoice({"redis": port, "cloud": port}, ephemeral=True).resolve()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(PortError, match="unknown port names"):
        PortChoice({"mongo": 1}).resolve()


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_out_of_range_is_refused(port: int) -> None:
    with pytest.raises(PortError, match="takes 1 to 65535"):
        ensure_free("redis", port)


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    """Any outgoing connection could take such a port while its service restarts."""
    assert not 32768 <= free_port() <= 60999


def test_a_free_port_is_returned_once() -> None:
    """Two services of one process get different ports, even before they bind."""
    port = free_port()
    assert not reserve(port)


def test_a_port_stays_reserved_until_its_process_ends() -> None:
    """The port is unbound before its service starts and while its service restarts."""
    with multiprocessing.get_context("spawn").Pool(1) as other:
        port = other.apply(free_port)
        assert not reserve(port)
        other.close()
        other.join()
    assert reserve(port)


def test_ports_are_chosen_without_the_reservation_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The temporary directory may be read-only, or another user may own the file."""

    def refuse(*_: object) -> int:
        raise PermissionError

    port_reservation._file.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not reserve(free_port())
