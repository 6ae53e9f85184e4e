"""FUNCTION_APP_URL: the accepted addresses, and errors that name the accepted form."""

from __future__ import annotations

import pytest

from processing.errors import SettingsError
from processing.site.settings import SiteSettings

PATH = "/subscriptions/0-1/resourceGroups/rg-x/providers/Microsoft.Web/sites/func-x"


def read(url: str) -> SiteSettings | None:
    return SiteSettings.from_mapping({"FUNCTION_APP_URL": url})


@pytest.mark.parametrize(
    ("origin", "audience"),
    [
        ("https://management.azure.com", "https://management.azure.com/"),
        ("https://management.usgovcloudapi.net", "https://management.usgovcloudapi.net/"),
        ("http://127.0.0.1:7080", ""),
        ("http://[::1]:7080", ""),
        ("http://localhost:7080", ""),
    ],
)
def test_address_of_a_function_app_is_accepted(origin: str, audience: str) -> None:
    """A token is sent over https only."""
    assert read(f" {origin}{PATH}/ ") == SiteSettings(origin + PATH, audience)


@pytest.mark.parametrize("value", ["", " "])
def test_empty_setting_means_no_site(value: str) -> None:
    assert read(value) is None
    assert SiteSettings.from_mapping({}) is None


@pytest.mark.parametrize(
    "url",
    [
        PATH,
        "https://func-x.azurewebsites.net",
        f"https://management.azure.com{PATH}/stop",
        f"https://management.azure.com{PATH}?api-version=2025-03-01",
        f"https://management.azure.com{PATH}#top",
        f"https://user:secret@management.azure.com{PATH}",
        f"https://management.azure.com:0{PATH}",
        f"https://management.azure.com:port{PATH}",
        f"https://[::1{PATH}",
        f"ftp://127.0.0.1{PATH}",
        f"http://management.azure.com{PATH}",
        f"https://management.azure.com{PATH.replace('sites', 'serverfarms')}",
        f"https://management.azure.com{PATH} x",
    ],
)
def test_other_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"FUNCTION_APP_URL is .*; it takes https"):
        read(url)
