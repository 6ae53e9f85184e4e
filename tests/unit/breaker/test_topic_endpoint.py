"""The check of a topic's address, compared with the SDK and its HTTP client."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid.aio import EventGridPublisherClient
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from breaker import SettingsError
from breaker.alerts.endpoint import check_endpoint

hosts = st.one_of(
    st.sampled_from(["t.westeurope-1.eventgrid.azure.net", "127.0.0.1", "[::1]", "[::1", "", "."]),
    st.sampled_from(["u:p@h", "ü.de", "h\\x", "a b", "a_b", "%41", "xn--"]),
    st.text(max_size=4),
)
ports = st.one_of(st.sampled_from(["", ":443", ":0", ":65536", ":x", ":"]), st.text(max_size=2))
paths = st.one_of(
    st.sampled_from(["", "/", "/api/events", "/%zz", "?a=b", "\\"]), st.text(max_size=2)
)
schemes = st.sampled_from(["https", "http", "HTTPS", "ftp", ""])


@given(st.builds("{}://{}{}{}".format, schemes, hosts, ports, paths))
@example("https://t.westeurope-1.eventgrid.azure.net/api/events")
@example("http://[::1]:1/api/events")
def test_sdk_sends_to_each_accepted_address(endpoint: str) -> None:
    """The SDK passes the address, as given, to an HTTP client that reads the same host."""
    try:
        check_endpoint(endpoint, "key")
    except SettingsError:
        return
    EventGridPublisherClient(endpoint, AzureKeyCredential("key"))
    read, parts = URL(endpoint, encoded=True), urlsplit(endpoint)
    assert (read.scheme, (read.raw_host or "").lower()) == (parts.scheme, parts.hostname)
    assert read.port == (parts.port or {"http": 80, "https": 443}[parts.scheme])


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://t.westeurope-1.eventgrid.azure.net/api/events",
        "https://t.westeurope-1.eventgrid.azure.net",
        "http://127.0.0.1:1/topics/t/api/events",
        "http://localhost:1",
    ],
)
def test_usual_addresses_are_accepted(endpoint: str) -> None:
    """The check is not too strict."""
    check_endpoint(endpoint, "key")
