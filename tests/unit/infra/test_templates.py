"""The order of the deployment, and what a second deployment keeps."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from scripts.check_infra.bicep import BicepFile, load

INFRA = Path(__file__).parents[3] / "infra"
RESOURCES = BicepFile("resources.bicep", (INFRA / "resources.bicep").read_text(), {}, {}).code
MODULES = dict(
    re.findall(r"^module (\w+) '[^']+' =(.*(?:\n(?!}).*)*)", RESOURCES, re.MULTILINE),
)
CREATORS = {
    "workspace": "monitoring",
    "insights": "monitoring",
    "storage": "storage",
    "poisonQueue": "storage",
    "deadLetterContainer": "storage",
    "eventHubs": "eventHubs",
    "hub": "eventHubs",
    "redis": "redis",
    "topic": "topic",
    "functionApp": "functionApp",
    "registry": "consoleEnvironment",
    "workflow": "workflow",
    "mail": "mail",
}
"""The module that creates the resource of each computed name."""


@cache
def files() -> dict[str, BicepFile]:
    """Return the parsed templates; parsing takes as long as a hundred tests of this file."""
    return load(INFRA)


def waits_for(module: str) -> set[str]:
    """Return all modules that are deployed before a module."""
    found: set[str] = set()
    new = {module}
    while new:
        texts = [MODULES[name] for name in new]
        before = {name for text in texts for name in re.findall(r"(\w+)!?\.outputs\.", text)}
        for text in texts:
            block = text.partition("dependsOn: [")[2].partition("]")[0]
            before |= set(block.split())
        new = before - found
        found |= before
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module_waits_for_each_resource_that_the_module_names(module: str) -> None:
    """A computed name gives no order, unlike an output, so each module lists what must exist."""
    named = set(re.findall(r"\b(?:names|ids)\.(\w+)", MODULES[module]))
    needed = {CREATORS[name] for name in named & CREATORS.keys()} - {module}
    assert needed <= waits_for(module)


@pytest.mark.parametrize("module", MODULES)
def test_modules_do_not_wait_for_each_other(module: str) -> None:
    assert module not in waits_for(module)


def test_dead_letter_right_is_granted_long_before_the_subscription() -> None:
    """Azure takes minutes to apply a right; Redis, and so the app, takes longer."""
    assert waits_for("deadLetterAccess") == {"topic", "storage", "monitoring"}
    assert {"deadLetterAccess", "redis", "functionApp"} <= waits_for("topicSubscription")


def test_subscription_waits_for_the_right_to_stop_the_app() -> None:
    assert "workflowOperateAccess" in waits_for("topicSubscription")


def test_app_waits_for_the_environment_of_the_console_only() -> None:
    """The app has the console's address, and the console has the app's."""
    before = waits_for("functionApp")
    assert "consoleEnvironment" in before
    assert "console" not in before


def test_console_may_stop_and_start_the_app_without_a_workflow() -> None:
    assert MODULES["consoleOperateAccess"].startswith(" if (deployConsole) {")
    assert MODULES["operateRole"].startswith(" if (deployConsole) {")
    assert "deployWorkflow" not in MODULES["consoleOperateAccess"]


def test_provision_keeps_the_running_image_of_the_console() -> None:
    """SERVICE_CONSOLE_IMAGE_NAME is unknown to a pipeline and on another machine."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert parameters["consoleExists"]["value"] == "${SERVICE_CONSOLE_RESOURCE_EXISTS=false}"
    [image] = re.findall(r"^    image: (.+)$", MODULES["console"], re.MULTILINE)
    assert image == "deployConsole && consoleExists ? consoleNow!.outputs.image : consoleImage"


def test_token_of_the_console_is_never_redrawn() -> None:
    """A missing variable is refused, because the parameter and the variable have no default."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert parameters["consoleToken"]["value"] == "${BREAKWATER_CONSOLE_TOKEN}"
    token = files()["main.bicep"].part("parameters")["consoleToken"]
    assert token["default"] is None
    assert {each["type"] for each in token["decorators"]} == {"description", "secure", "min_length"}
    assert "generate" not in files()["main.bicep"].code


def test_placeholder_of_the_console_is_not_probed() -> None:
    """The placeholder page does not listen on the console's port."""
    code = files()["modules/console.bicep"].code
    assert "var deployed = !empty(image) && image != placeholder" in code
    assert "image: deployed ? image : placeholder" in code
    assert "probes: !deployed ? [] : [" in code


def test_redis_writes_a_log_of_each_second() -> None:
    database = files()["modules/redis.bicep"].resources()["database"]
    properties = database["config"]["properties"]
    assert properties["persistence"] == {"aofEnabled": True, "aofFrequency": "1s"}


def test_console_without_a_workflow_publishes_no_opening_again() -> None:
    code = files()["modules/console.bicep"].code
    assert re.search(r"deployWorkflow \? \{\} : \{\s+CONSOLE_REPEAT_SECONDS: '0'\s+\}\)", code)
    assert "deployWorkflow: withWorkflow" in MODULES["console"]


def test_event_grid_gives_up_after_an_hour() -> None:
    """An opening that is lost for a day would cause no alarm for a day."""
    code = files()["modules/topic-subscription.bicep"].code
    assert re.findall(r"eventTimeToLiveInMinutes: (\d+)", code) == ["60"]


def test_guide_lists_the_templates_that_are_not_compiled() -> None:
    """Every template has changed since the compiler last read the templates."""
    guide = (INFRA.parent / "docs" / "deploy.md").read_text()
    listed = guide.partition("with the Bicep compiler:\n")[2].partition("- ARM's own")[0]
    assert set(re.findall(r"`([\w-]+)`", listed)) == {Path(name).stem for name in files()}
