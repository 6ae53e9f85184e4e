"""The seeds of simulated runs: a few in `make test`, and more in `make test-long`."""

from __future__ import annotations

import pytest

_LONG = [pytest.mark.long, pytest.mark.timeout(300)]


def seeds(few: int, many: int) -> pytest.MarkDecorator:
    """Return the parameter `seed`: the first `few` seeds, and up to `many` in long runs."""
    return pytest.mark.parametrize(
        "seed", [*range(few), *(pytest.param(seed, marks=_LONG) for seed in range(few, many))]
    )
