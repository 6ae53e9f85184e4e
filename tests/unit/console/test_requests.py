"""Check of the callback hosts."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from console.errors import ConsoleSettingsError
from console.settings import ConsoleSettings
from console.web.requests import check_callback_host

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "url",
    [
        "https://prod-01.westeurope.logic.azure.com:443/workflows/x?sig=y",
        "https://PROD.logic.azure.com/",
        "http://127.0.0.1:7080/workflows",
        "http://localhost/",
    ],
)
def test_listed_hosts_are_allowed(url: str) -> None:
    """Exact names and subdomains match, whatever the case."""
    check_callback_host(url, ("127.0.0.1", "localhost", "*.logic.azure.com"))


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://logic.azure.com/", 403),
        ("https://evil-logic.azure.com/", 403),
        ("https://logic.azure.com.evil.example/", 403),
        ("http://prod.logic.azure.com/", 403),
        ("https://x@prod.logic.azure.com/", 400),
    ],
)
def test_other_hosts_are_refused(url: str, status: int) -> None:
    """Similar names are refused, and plain http to another machine."""
    with pytest.raises(HTTPException) as refused:
        check_callback_host(url, ("*.logic.azure.com",))
    assert refused.value.status_code == status


def test_the_token_is_not_shown() -> None:
    """Neither a repr nor an error has the token."""
    assert TOKEN not in repr(ConsoleSettings(token=TOKEN))
    with pytest.raises(ConsoleSettingsError) as raised:
        ConsoleSettings(token="secret")
    assert "secret" not in str(raised.value)
