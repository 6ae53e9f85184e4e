"""The pytest plugin: the fixture `breakwater_app`.

pytest loads this module in each run of a project that has Breakwater installed. Therefore the
module imports nothing else; the test kit is loaded at the fixture's first use. The module is not
in the package `breakwater`, because the import of the package fails in a project that has a folder
`processing` or `breaker`, and the tests of such a project must run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from breakwater.testing import TestApp


@pytest.fixture
def breakwater_app() -> Iterator[Callable[..., TestApp]]:
    """Return a function that opens a `TestApp`; the app is closed when the test ends.

    The function has the arguments of `TestApp`: `breakwater_app(handler, settings={...})`.
    """
    from breakwater.testing import TestApp  # noqa: PLC0415 - loads the processor

    with ExitStack() as opened:

        def open_app(
            handler: object,
            *,
            settings: Mapping[str, object] | None = None,
            pipeline: str | None = None,
        ) -> TestApp:
            return opened.enter_context(TestApp(handler, settings=settings, pipeline=pipeline))

        yield open_app
