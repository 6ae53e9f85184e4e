"""The settings reader, with the settings of all three prefixes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from breaker import BreakerSettings, SettingsError
from breaker.configuration.errors import ConfigurationError
from breaker.configuration.fields import Bounds
from breaker.configuration.lookup import bare
from breaker.configuration.platform_names import is_platform_name
from breaker.configuration.settings import Settings
from console.errors import ConsoleSettingsError
from console.settings import ConsoleSettings
from processing.errors import SettingsError as ProcessingSettingsError
from processing.settings import ProcessingSettings

ROOT = Path(__file__).parents[4]
TOKEN = "a-token-of-32-characters-for-test"


@dataclass(frozen=True)
class Prefix:
    """The settings class of one prefix, with the name of one setting of each type."""

    kind: type[Settings]
    error: type[ConfigurationError]
    whole: str
    number: str
    most: float
    text: str = ""
    flag: str = ""
    choice: str = ""
    choices: tuple[str, ...] = ()
    parts: str = ""
    required: Mapping[str, str] = field(default_factory=dict)

    def read(self, **values: str) -> Any:
        """Build the settings from names without the prefix."""
        named = {self.kind.PREFIX + name: text for name, text in values.items()}
        return self.kind.from_mapping({**self.required, **named})


PREFIXES = (
    Prefix(
        BreakerSettings,
        SettingsError,
        whole="FAILURE_THRESHOLD",
        number="POLL_SECONDS",
        most=300,
        text="REDIS_CLIENT_ID",
        flag="COUNT_POISON",
        choice="RECOVERY",
        choices=("manual", "automatic"),
    ),
    Prefix(
        ProcessingSettings,
        ProcessingSettingsError,
        whole="MAX_LANES",
        number="HOLD_SECONDS",
        most=3_600,
        choice="POISON_ORDERING",
        choices=("skip", "park"),
        parts="DEPENDENCY_ERRORS",
    ),
    Prefix(
        ConsoleSettings,
        ConsoleSettingsError,
        whole="SOCKETS_MAX",
        number="DELIVERY_SECONDS",
        most=3_600,
        text="CONSUMER_GROUP",
        flag="EASY_AUTH",
        parts="CALLBACK_HOSTS",
        required={"CONSOLE_TOKEN": TOKEN},
    ),
)


@pytest.fixture(params=PREFIXES, ids=[each.kind.PREFIX for each in PREFIXES])
def prefix(request: pytest.FixtureRequest) -> Prefix:
    found: Prefix = request.param
    return found


def value_of(settings: Any, name: str) -> Any:
    return getattr(settings, name.lower())


def test_empty_text_means_the_default(prefix: Prefix) -> None:
    names = (prefix.whole, prefix.number, prefix.text, prefix.flag, prefix.choice, prefix.parts)
    for blank in ("", "   ", "\t\n", '""', " '' ", '" "'):
        assert prefix.read(**{name: blank for name in names if name}) == prefix.read()


def test_values_are_stripped(prefix: Prefix) -> None:
    assert value_of(prefix.read(**{prefix.whole: " 7\n"}), prefix.whole) == 7
    assert value_of(prefix.read(**{prefix.number: " 2.5 "}), prefix.number) == 2.5
    if prefix.text:
        assert value_of(prefix.read(**{prefix.text: " a-b "}), prefix.text) == "a-b"
    if prefix.flag:
        assert value_of(prefix.read(**{prefix.flag: " On "}), prefix.flag) is True
        assert value_of(prefix.read(**{prefix.flag: "0"}), prefix.flag) is False
    if prefix.choice:
        chosen = prefix.read(**{prefix.choice: f" {prefix.choices[1].upper()} "})
        assert value_of(chosen, prefix.choice) == prefix.choices[1]
    if prefix.parts:
        assert value_of(prefix.read(**{prefix.parts: " a.x, ,b.y,"}), prefix.parts) == (
            "a.x",
            "b.y",
        )


@pytest.mark.parametrize("blank", ["", " ", ",", " , ,", '"",'])
def test_list_without_parts_means_the_default(blank: str) -> None:
    """Also for the one list whose default has parts."""
    settings = ConsoleSettings.from_mapping(
        {"CONSOLE_TOKEN": TOKEN, "CONSOLE_CALLBACK_HOSTS": blank, "CONSOLE_PROXIES": blank}
    )
    assert settings == ConsoleSettings(TOKEN)
    assert settings.callback_hosts == ("127.0.0.1", "localhost")


@pytest.mark.parametrize("padded", [" {}", "{}\n", "{}\r\n", '"{}"', "'{}'", ' " {}" \n', "\t{} "])
def test_blanks_and_quotes_around_a_value_are_ignored(prefix: Prefix, padded: str) -> None:
    values = {prefix.whole: "7", prefix.number: "2.5", prefix.text: "a-b", prefix.flag: "on"}
    values |= {prefix.choice: "".join(prefix.choices[1:]), prefix.parts: "a.x,b.y"}
    values = {name: text for name, text in values.items() if name}
    found = prefix.read(**{name: padded.format(text) for name, text in values.items()})
    assert found == prefix.read(**values)
    if prefix.parts:
        parts = ",".join(padded.format(part) for part in ("a.x", "b.y"))
        assert value_of(prefix.read(**{prefix.parts: parts}), prefix.parts) == ("a.x", "b.y")


@pytest.mark.parametrize(
    "text", ['"', "'", "\"'", '"a', "a'", '"a" or "b"', "it's", '""a""', 'a"b']
)
def test_quotes_within_a_value_are_kept(text: str) -> None:
    assert bare(f" {text}\n") == text


def test_names_are_not_case_sensitive(prefix: Prefix) -> None:
    name = prefix.kind.PREFIX + prefix.whole
    for values in ({name.lower(): "7"}, {name: "7", name.lower(): "8"}, {name.title(): "7"}):
        settings = prefix.kind.from_mapping({**prefix.required, **values})
        assert value_of(settings, prefix.whole) == 7


@pytest.mark.parametrize("value", ["5", ""])
def test_unknown_name_is_refused_with_nearest_name(prefix: Prefix, value: str) -> None:
    wrong = prefix.whole.replace("M", "N", 1).replace("TH", "T", 1)
    with pytest.raises(prefix.error) as raised:
        prefix.read(**{wrong: value})
    own = prefix.kind.PREFIX
    assert str(raised.value) == f"unknown setting {own}{wrong}: did you mean {own}{prefix.whole}?"


def test_names_without_prefix_are_ignored(prefix: Prefix) -> None:
    others = {"PATH": "/bin", f"X{prefix.kind.PREFIX}FOO": "1", prefix.kind.PREFIX[:-1]: "1"}
    assert prefix.kind.from_mapping({**prefix.required, **others}) == prefix.read()


@pytest.mark.parametrize("value", ["many", "2.7", "1e3", "0", "-1", "nan", "inf", "99999999999"])
def test_invalid_whole_number_is_refused(prefix: Prefix, value: str) -> None:
    with pytest.raises(prefix.error) as raised:
        prefix.read(**{prefix.whole: value})
    variable = prefix.kind.PREFIX + prefix.whole
    assert str(raised.value).startswith(f"{variable} is '{value}': it takes a whole number from 1")


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "-inf", "-1", "1e9", "1,5"])
def test_invalid_number_is_refused(prefix: Prefix, value: str) -> None:
    with pytest.raises(prefix.error) as raised:
        prefix.read(**{prefix.number: value})
    variable = prefix.kind.PREFIX + prefix.number
    assert str(raised.value).startswith(f"{variable} is '{value}': it takes a number from ")
    assert str(raised.value).endswith(f" to {prefix.most}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, True, "5"])
def test_constructor_refuses_invalid_values(prefix: Prefix, value: Any) -> None:
    values = {name.partition("_")[2].lower(): text for name, text in prefix.required.items()}
    for name in (prefix.whole, prefix.number):
        with pytest.raises(prefix.error, match=f"{prefix.kind.PREFIX}{name} is"):
            prefix.kind(**values, **{name.lower(): value})


def test_invalid_choice_or_flag_is_refused(prefix: Prefix) -> None:
    wrong = []
    if prefix.choice:
        wrong.append((prefix.choice, " or ".join(prefix.choices)))
    if prefix.flag:
        wrong.append((prefix.flag, "true or false"))
    for name, takes in wrong:
        with pytest.raises(prefix.error) as raised:
            prefix.read(**{name: "perhaps"})
        variable = prefix.kind.PREFIX + name
        assert str(raised.value) == f"{variable} is 'perhaps': it takes {takes}"


PLATFORM_NAMES = [
    *("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "SERVICE_PORT_HTTP_ALT", "PORT"),
    *("PORT_80_TCP", "PORT_80_TCP_PROTO", "PORT_80_TCP_PORT", "PORT_80_TCP_ADDR"),
    *("PORT_53_UDP", "PORT_53_UDP_PROTO", "PORT_53_UDP_PORT", "PORT_53_UDP_ADDR"),
    *("PORT_9_SCTP", "PORT_9_SCTP_PROTO", "PORT_9_SCTP_PORT", "PORT_9_SCTP_ADDR"),
]


@pytest.mark.parametrize("service", ["", "API_", "API_V2_"])
@pytest.mark.parametrize("name", PLATFORM_NAMES)
def test_platform_names_are_ignored(prefix: Prefix, service: str, name: str) -> None:
    """Kubernetes services named `console` or `breaker-api` do not prevent a start."""
    assert prefix.read(**{service + name: "tcp://10.0.0.1:80"}) == prefix.read()


@pytest.mark.parametrize(
    "name", ["SERVICE", "HOST", "PORTS", "PORT_80", "PORT_X_TCP", "PORT_80_TCP_NAME", "SERVICE_IP"]
)
def test_names_similar_to_platform_names_are_refused(prefix: Prefix, name: str) -> None:
    with pytest.raises(prefix.error, match=f"unknown setting {prefix.kind.PREFIX}{name}"):
        prefix.read(**{name: "1"})


@pytest.mark.parametrize("value", ["8080", "", "true", "10.0.0.1:80", "http://10.0.0.1:80"])
def test_port_that_an_operator_sets_is_refused(prefix: Prefix, value: str) -> None:
    """Kubernetes gives a variable of this name an address such as tcp://10.0.0.1:80."""
    with pytest.raises(prefix.error, match=f"unknown setting {prefix.kind.PREFIX}PORT"):
        prefix.read(PORT=value)


@dataclass(frozen=True, slots=True)
class Server(Settings):
    PREFIX: ClassVar[str] = "SERVER_"

    port: int = 80


def test_field_with_platform_name_is_read() -> None:
    assert is_platform_name("SERVER_PORT", "tcp://10.0.0.1:80")
    assert Server.from_mapping({"SERVER_PORT": "81", "SERVER_SERVICE_PORT": "82"}).port == 81


resolved: list[Bounds] = []


def recorded_bounds() -> Bounds:
    """Return bounds, and record that an annotation with these bounds is resolved."""
    resolved.append(Bounds(1, 9))
    return resolved[-1]


@dataclass(frozen=True, slots=True)
class Counted(Settings):
    PREFIX: ClassVar[str] = "COUNTED_"

    number: Annotated[int, recorded_bounds()] = 1


def test_annotations_are_resolved_once_per_class() -> None:
    """Resolving type hints takes many times longer than all checks of the values."""
    for number in range(1, 4):
        assert Counted(number).number == number
        assert Counted.from_mapping({"COUNTED_NUMBER": str(number)}) == Counted(number)
    assert len(resolved) == 1


@pytest.mark.parametrize("token", ["hush", "hush-hush-hush"])
def test_error_does_not_show_secret(token: str) -> None:
    with pytest.raises(ConsoleSettingsError) as raised:
        ConsoleSettings.from_mapping({"CONSOLE_TOKEN": token})
    assert str(raised.value) == (
        f"CONSOLE_TOKEN has {len(token)} characters: it takes at least 16 characters"
    )
    assert token not in repr(raised.value)


@pytest.mark.parametrize("values", [{}, {"CONSOLE_TOKEN": "  "}])
def test_missing_setting_is_named(values: dict[str, str]) -> None:
    with pytest.raises(ConsoleSettingsError, match="CONSOLE_TOKEN is missing: it takes at least"):
        ConsoleSettings.from_mapping(values)


def test_configuration_needs_only_the_standard_library() -> None:
    """Each module can be imported without site-packages, so without redis or an SDK.

    Only command lines, which need click, import the modules that are left out here.
    """
    package = ROOT / "breaker" / "configuration"
    names = {file.stem for file in package.glob("[!_]*.py")}
    names -= {"command_line", "needs_click", "pipeline_option"}
    modules = [f"breaker.configuration.{name}" for name in sorted(names)]
    assert len(modules) > 5
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    command = [sys.executable, "-S", "-c", code, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
