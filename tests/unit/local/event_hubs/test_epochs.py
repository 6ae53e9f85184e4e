"""The ownership rules of receivers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.event_hubs.errors import LINK_STOLEN, RESOURCE_LIMIT_EXCEEDED
from local.event_hubs.hub.epochs import MAX_RECEIVERS, Admission, Receiver, admit


def plain(count: int) -> list[Receiver]:
    return [Receiver(f"plain{number}") for number in range(count)]


@pytest.mark.parametrize("count", range(MAX_RECEIVERS))
def test_up_to_five_receivers_without_epoch_are_admitted(count: int) -> None:
    assert admit(plain(count), Receiver("new")) == Admission()


def test_the_sixth_receiver_without_epoch_is_refused() -> None:
    refusal = admit(plain(5), Receiver("new")).refusal
    assert refusal is not None
    assert refusal.condition == RESOURCE_LIMIT_EXCEEDED
    assert "plain0, plain1, plain2, plain3, plain4" in refusal.description


@pytest.mark.parametrize(("held", "wanted"), [(1, 2), (0, 0), (7, 7)])
def test_a_higher_or_equal_epoch_displaces(held: int, wanted: int) -> None:
    old = Receiver("old", held)
    admission = admit([old], Receiver("new", wanted))
    assert admission.refusal is None
    ((displaced, error),) = admission.displaced
    assert displaced is old
    assert error.condition == LINK_STOLEN
    assert f"higher epoch of '{wanted}'" in error.description


def test_a_lower_epoch_is_refused() -> None:
    admission = admit([Receiver("old", 2)], Receiver("new", 1))
    assert admission.refusal is not None
    assert admission.refusal.condition == LINK_STOLEN
    assert admission.displaced == ()


def test_an_epoch_displaces_all_receivers_without_epoch() -> None:
    present = plain(3)
    admission = admit(present, Receiver("new", 0))
    assert [receiver for receiver, _ in admission.displaced] == present
    assert all("without epoch" in error.description for _, error in admission.displaced)


def test_an_epoch_refuses_receivers_without_epoch() -> None:
    refusal = admit([Receiver("owner", 0)], Receiver("new")).refusal
    assert refusal is not None
    assert refusal.condition == LINK_STOLEN
    assert "epoch of '0'" in refusal.description


@given(st.lists(st.none() | st.integers(0, 5), max_size=60))
def test_any_sequence_of_arrivals_follows_the_rules(epochs: list[int | None]) -> None:
    """A partition has either one receiver with an epoch or up to five without an epoch."""
    present: list[Receiver] = []
    for number, epoch in enumerate(epochs):
        newcomer = Receiver(str(number), epoch)
        admission = admit(present, newcomer)
        if admission.refusal is None:
            gone = {receiver.name for receiver, _ in admission.displaced}
            present = [receiver for receiver in present if receiver.name not in gone]
            present.append(newcomer)
        else:
            assert admission.displaced == ()
        owners = [receiver for receiver in present if receiver.epoch is not None]
        assert len(owners) == len(present) == 1 or (not owners and len(present) <= MAX_RECEIVERS)
