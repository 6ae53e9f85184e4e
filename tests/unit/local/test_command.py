"""The options of `up`, `down`, `stack` and `host`: each refusal names what is accepted."""

from __future__ import annotations

import pytest

from local.__main__ import main


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("status2", "no command 'status2'; commands: down, host, status, up; did you mean status?"),
        ("up --partitions 0", "a hub has 1 to 1024 partitions, not '0'"),
        ("up --port-redis 65536", "a port is 0 to 65535, not '65536'"),
        ("up --set X", "--set takes NAME=VALUE, not 'X'"),
        ("up --stop-seconds 601", "the delay is 0 to 600 seconds, not '601'"),
        ("up --grid-retry-scale 0", "a scale is above 0 and at most 1000, not '0'"),
        ("down --state-dir pyproject.toml", "it takes a directory, but "),
        ("host --instances 65", "a site has 1 to 64 instances, not '65'"),
        ("host --lease 0", "'0' is not a number of seconds above 0"),
        ("host --grace soon", "'soon' is not a number of seconds from 0 to below 86400"),
        ("host --event-hubs-extension 6", "is not one of '6.5.1', '6.5.2'"),
        ("host --debugpy-port 1", "--debugpy-port is only accepted with --debug"),
        ("host --debug --instances 2", "--debug runs one instance: leave out --instances"),
        ("host --debug --lifeline", "--debug keeps standard input for the debugger"),
    ],
)
def test_wrong_option_is_refused_with_what_is_accepted(
    line: str, refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert refusal in printed.err
    assert all(each.startswith("breakwater: ") for each in printed.err.splitlines())
