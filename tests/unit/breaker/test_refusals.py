"""The errors of servers that take no writes, as Redis 6.2.14, 7.0.15 and 8.2.3 word them."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as BrokenConnectionError

from breaker.stores.redis.refusals import Refusal, refusal_in, refusal_of

_OLD = "ERR Error running script (call to f_8b42): @user_script:1: @user_script: 1: -"
_NEW = " script: 8b42, on @user_script:1."
_READONLY = "READONLY You can't write against a read only replica."
_NOREPLICAS = "NOREPLICAS Not enough good replicas to write."
_MISCONF = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist"
_OOM = "OOM command not allowed when used memory > 'maxmemory'."


def error_of(text: str) -> Exception:
    """Return the error that redis-py raises for an answer."""
    error: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize("form", ["{0}", _OLD + "{0}", "{0}" + _NEW])
@pytest.mark.parametrize("text", [_READONLY, _NOREPLICAS, _MISCONF, _OOM])
def test_refused_write(text: str, form: str) -> None:
    """The code and the server's own words are the same in a command and in a script."""
    code, _, detail = text.partition(" ")
    assert refusal_in(error_of(form.format(text))) == Refusal(code, detail.removesuffix("."))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.", "MASTERDOWN"),
        ("LOADING Redis is loading the dataset in memory", "LOADING"),
        ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", "UNBLOCKED"),
        ("NOPERM User u has no permissions to run the 'hset' command", "NOPERM"),
        (f"ERR ACL failure in script: User u has no permissions to run 'hset'{_NEW}", "NOPERM"),
        (f"ERR The user executing the script can't run this command{_NEW}", "NOPERM"),
        ("ERR writes are not accepted: this replica is read-only", "READONLY"),
    ],
)
def test_other_refusals(text: str, code: str) -> None:
    """The message says what Redis has said, and what to do."""
    found = refusal_in(error_of(text))
    assert found is not None
    assert found.code == code
    assert str(found).startswith(f"Redis answers but takes no writes: {code} {found.detail}; ")


@pytest.mark.parametrize("code", ["", "ERR ", "@user_script: 1: -"])
def test_error_that_a_script_has_caught(code: str) -> None:
    """`redis.pcall` gives the text with or without its place."""
    found = refusal_of(f"{code}{_READONLY}\r\n")
    assert found == Refusal("READONLY", "You can't write against a read only replica")


@pytest.mark.parametrize(
    "error",
    [
        error_of("ERR wrong number of arguments for 'get' command"),
        error_of("WRONGTYPE Operation against a key holding the wrong kind of value"),
        error_of("NOSCRIPT No matching script. Please use EVAL."),
        error_of(f"{_OLD}ERR wrong number of arguments of READONLY"),
        BrokenConnectionError("READONLY connection"),
        TimeoutError(),
    ],
    ids=repr,
)
def test_other_errors_are_no_refusals(error: Exception) -> None:
    assert refusal_in(error) is None


def test_rights_and_memory_are_the_same_on_each_node() -> None:
    """A new connection may lead to another node, but not to other rights or less data."""
    assert not Refusal("NOPERM", "").is_of_the_node
    assert not Refusal("OOM", "").is_of_the_node
    assert Refusal("MISCONF", "").is_of_the_node
