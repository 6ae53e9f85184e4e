"""The position that a checkpoint's metadata name, as the .NET SDK reads them."""

from __future__ import annotations

import pytest

from local.functions_host.triggers.event_hubs.checkpoint import position_of


@pytest.mark.parametrize(
    ("metadata", "position"),
    [
        ({"offset": "900", "sequencenumber": "9"}, "900"),
        ({"offset": "900"}, "900"),
        ({"offset": "12:345:678", "sequencenumber": "9"}, "12:345:678"),
        ({"offset": "-1", "sequencenumber": "-1"}, "-1"),
        ({"sequencenumber": "9"}, 9),
        ({"sequencenumber": "0", "offset": ""}, 0),
        ({"sequencenumber": "9", "offset": None}, 9),
        ({"sequencenumber": "9", "offset": "no offset"}, 9),
        ({"sequencenumber": "9", "offset": "No Offset"}, 9),
        ({"sequencenumber": None, "offset": "900"}, "900"),
        ({"sequencenumber": "nine"}, None),
        ({"sequencenumber": ""}, None),
        ({"offset": None, "sequencenumber": None}, None),
        ({}, None),
    ],
)
def test_offset_counts_before_the_number(
    metadata: dict[str, str | None], position: str | int | None
) -> None:
    """An empty value is `None` in a listing of Azurite, and "" in one of Azure."""
    assert position_of(metadata) == position
