"""The checks of infra pass on the real files, and each rule finds its problem."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts.check_infra.alarms import read_alarms, read_queries
from scripts.check_infra.bicep import BicepFile, BicepSyntaxError, load, parse
from scripts.check_infra.host_json import host_json_problems
from scripts.check_infra.rules import bicep_problems
from scripts.check_infra.workflow import workflow_problems

ROOT = Path(__file__).parents[3]
PARAMETERS = ROOT / "infra" / "main.parameters.json"
ALERTS = ROOT / "infra" / "modules" / "alerts.bicep"

MORE = "resource more 'Microsoft.Cache/redisEnterprise@2025-07-01' = {\n  name: name\n}\n\n"
LEAK = "output leak string = token\n\n"
MORE_OUTPUT = "output more string = 'x'\\n"
SKIP = "  // checkov:skip=CKV_AZURE_1\n"


@pytest.fixture(scope="module")
def files() -> dict[str, BicepFile]:
    return load(ROOT / "infra")


def test_real_files_pass(files: dict[str, BicepFile]) -> None:
    assert list(bicep_problems(files, PARAMETERS)) == []
    assert list(workflow_problems(ROOT / "infra" / "workflow.json")) == []
    assert list(host_json_problems(ROOT / "host.json")) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "problem"),
    [
        ("modules/topic.bicep", "param name string", "param name string\nparam x int", "x is"),
        ("modules/topic.bicep", "output end", "var y = 1\noutput end", "y is declared and never"),
        ("modules/redis.bicep", "// The address has", f"{MORE}// The address has", "expected {"),
        (
            "modules/redis.bicep",
            "redis.properties.hostName",
            "listKeys(redis.id).a",
            "use an identity",
        ),
        ("modules/console.bicep", "var values", f"{LEAK}var values", "output contains a secret"),
        ("modules/console.bicep", "@secure()\n", "", "token has the name of a secret"),
        (
            "modules/topic.bicep",
            "  name: name\n",
            f"{SKIP}  name: name\n",
            "takes the form checkov:skip",
        ),
        (
            "modules/function-access.bicep",
            "// The app publishes alerts.\n",
            "",
            "comment with the reason",
        ),
        (
            "resources.bicep",
            "modules/mail.bicep",
            "modules/post.bicep",
            "post.bicep does not exist",
        ),
        ("resources.bicep", "    sku: redisSku\n", "", "module redis lacks the parameter sku"),
        (
            "resources.bicep",
            "    sku: redisSku\n",
            "    sku: redisSku\n    a: 1\n",
            "no parameter a",
        ),
        ("resources.bicep", "redis.outputs.url", "redis.outputs.uri", "has no output uri"),
        (
            "modules/topic.bicep",
            "output endpoint",
            "output b string = 'x'\noutput endpoint",
            "the output b is never used",
        ),
        ("main.bicep", "@minValue(1)\n@maxValue(40)\n", "", "throughputUnits has no bounds"),
        (
            "main.bicep",
            "@description('Use two Redis nodes instead of one.')\n",
            "",
            "no description",
        ),
        ("main.bicep", "param redisSku string", "param sku string", "redisSku is not a parameter"),
        (
            "modules/operate-access.bicep",
            "guid(app.id, principalId, roleId)",
            "guid(app.id, roleId)",
            "the name of access must hold the principal's id",
        ),
        (
            "modules/redis-access.bicep",
            "uniqueString(database.id, principalId)",
            "uniqueString(database.id)",
            "the name of assignment must hold the principal's id",
        ),
        (
            "resources.bicep",
            "mailServiceName: names.mail",
            "mailServiceName: mail!.outputs.endpoint",
            "loop of service takes mailServiceName, an output of a module",
        ),
        (
            "resources.bicep",
            "topicId: ids.topic\n    eventHubsId: ids.eventHubs\n    redisId: ids.redis\n    work",
            "topicId: topic.outputs.endpoint\n    eventHubsId: 'x'\n    redisId: 'x'\n    work",
            "loop of metricRules takes topicId, an output of a module",
        ),
    ],
)
def test_rule_finds_its_problem(
    files: dict[str, BicepFile], file: str, old: str, new: str, problem: str
) -> None:
    """Each change of a real file is found."""
    text = files[file].text
    assert old in text
    changed = files | {file: parse(file, text.replace(old, new, 1))}
    assert any(problem in found for found in bicep_problems(changed, PARAMETERS))


def test_unused_module_is_found(files: dict[str, BicepFile]) -> None:
    stray = files | {"modules/stray.bicep": parse("modules/stray.bicep", "var a = 1\n")}
    assert "modules/stray.bicep: no module uses it" in list(bicep_problems(stray, PARAMETERS))


def test_syntax_errors_name_file_and_line() -> None:
    with pytest.raises(BicepSyntaxError, match=r"^bad\.bicep:2: this is not Bicep"):
        parse("bad.bicep", "param a string\nparam = {{\n")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"extensions": {"eventHubs": {"maxBatchSize": 1}}},
            "unknown option 'extensions.eventHubs.max",
        ),
        ({"extensions": {"eventHub": {}}}, "unknown option 'extensions.eventHub'"),
        ({"aggregator": {}}, "this app does not use the option 'aggregator'"),
        ({"extensions": {"queues": {}}}, "this app does not use the option 'extensions.queues'"),
        (
            {"extensions": {"http": {"hsts": {}}}},
            "this app does not use the option 'extensions.http.hsts'",
        ),
        ({"CustomHandler": {}}, "this app does not use the option 'CustomHandler'"),
        ({"logging": True}, "logging is true; it takes a JSON object"),
        ({"version": "1.0"}, 'version is "1.0"; it takes "2.0"'),
        ({"functionTimeout": "00:00:30"}, "takes 5 minutes or more"),
        ({"functionTimeout": -1}, "takes hh:mm:ss"),
        ({"extensionBundle": {"id": "mine"}}, "takes Microsoft's bundle"),
        (
            {"extensionBundle": {"id": "x", "version": "[4.*, 5.0.0)"}},
            "takes a range from 4.28.0 on",
        ),
        (
            {"extensions": {"eventHubs": {"batchCheckpointFrequency": 2}}},
            "batchCheckpointFrequency is 2; it takes 1",
        ),
    ],
)
def test_host_json_problem_is_found(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    file = tmp_path / "host.json"
    file.write_text(json.dumps(json.loads((ROOT / "host.json").read_text()) | change))
    assert any(problem in found for found in host_json_problems(file))


def test_options_that_the_app_may_use_are_accepted_in_any_case(tmp_path: Path) -> None:
    document = json.loads((ROOT / "host.json").read_text())
    document["$schema"] = "x"
    document["Logging"] = document.pop("logging") | {"FileLoggingMode": "never"}
    document["extensions"]["HTTP"] = {"routePrefix": "api"}
    file = tmp_path / "host.json"
    file.write_text(json.dumps(document))
    assert list(host_json_problems(file)) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            '"Stop_the_app": ["Succeeded", "F',
            '"Stop_it": ["Succeeded", "F',
            "not in the same scope",
        ),
        ('["Succeeded", "Failed", "TimedOut"]', '["Succeeded", "Done"]', "Done"),
        ("outputs('Opening')", "outputs('Closing')", "an action that does not exist"),
        ("outputs('Circuit_now')", "body('Look_up_the_circuit')", "fails if the body is text"),
        ("parameters('mailTo')", "parameters('mailsTo')", "mailsTo is not declared"),
        ('"parameters": {', '"parameters": { "more": {},', "more is never used"),
        ('"type": "HttpWebhook"', '"type": "Webhook"', "has the type 'Webhook'"),
        ('"limit": {', '"timeout": {', "has no option timeout"),
        ('"ManagedServiceIdentity"', '"Basic"', "must authenticate with its managed identity"),
        ('"properties": ["inputs", "outputs"]', '"properties": []', "exposes the console's token"),
    ],
)
def test_workflow_problem_is_found(tmp_path: Path, old: str, new: str, problem: str) -> None:
    text = (ROOT / "infra" / "workflow.json").read_text()
    assert old in text
    file = tmp_path / "workflow.json"
    file.write_text(text.replace(old, new, 1))
    assert any(problem in found for found in workflow_problems(file))


def test_deployment_guide_names_only_existing_variables() -> None:
    """Each BREAKWATER_ variable is an output, a parameter, or read by the load test."""
    named = set(re.findall(r"BREAKWATER_[A-Z_]*[A-Z]", (ROOT / "docs" / "deploy.md").read_text()))
    main = (ROOT / "infra" / "main.bicep").read_text()
    outputs = set(re.findall(r"^output (\w+)", main, re.MULTILINE))
    parameters = set(re.findall(r"\$\{(\w+)[=}]", PARAMETERS.read_text()))
    parts = ("EVENT_HUB", "STORAGE", "HOST_STORAGE")
    connections = {f"BREAKWATER_{part}_CONNECTION" for part in parts}
    assert named <= outputs | parameters | connections


def test_operations_guide_names_each_alert() -> None:
    """An operator who gets an alert finds its name in the guide."""
    signals = (ROOT / "docs" / "operations.md").read_text().partition("## Signals")[2]
    cells = re.findall(r"\| ([a-z, -]+) \|$", signals, re.MULTILINE)
    alerts = {alarm.name for alarm in read_alarms(ALERTS)} | read_queries(ALERTS).keys()
    assert {name for cell in cells for name in cell.split(", ")} == alerts | {"alert"}


def test_queries_name_actions_of_the_workflow() -> None:
    """An alert on a renamed action would never fire."""
    queries = " ".join(read_queries(ALERTS).values())
    named = set(re.findall(r'column_ifexists\("resource_actionName_s", ""\) == "(\w+)"', queries))
    workflow = (ROOT / "infra" / "workflow.json").read_text()
    assert named == {"Stop_the_app", "Mail_the_operator"}
    assert all(f'"{name}": {{' in workflow for name in named)


def test_windows_of_log_alerts_overlap() -> None:
    """Records arrive minutes late, so that adjacent windows would miss some records."""
    text = (ROOT / "infra" / "modules" / "alerts.bicep").read_text().partition("queryRules")[2]
    [pause] = re.findall(r"evaluationFrequency: 'PT(\d+)M'", text)
    [window] = re.findall(r"windowSize: 'PT(\d+)M'", text)
    assert int(window) >= 2 * int(pause)


def test_new_token_restarts_the_console() -> None:
    """Container Apps creates a revision for a changed template, not for a changed secret."""
    text = (ROOT / "infra" / "modules" / "console.bicep").read_text()
    template = text.partition("    template: {\n")[2]
    assert "secretRef: 'console-token'" in template
    assert "value: uniqueString(token)" in template


def test_alerts_query_metrics_that_the_app_records() -> None:
    """An alert on a renamed metric would never fire."""
    text = (ROOT / "infra" / "modules" / "alerts.bicep").read_text()
    queried = set(re.findall(r'Name == "([\w.]+)"', text))
    monitoring = ROOT / "processing" / "monitoring"
    sources = (
        ROOT / "breaker" / "metrics.py",
        monitoring / "telemetry.py",
        monitoring / "stall_gauges.py",
    )
    tables = "\n".join(file.read_text().partition('"""\n')[0] for file in sources)
    measured = set(re.findall(r"^\| ([a-z]+\.[\w.]+) \|", tables, re.MULTILINE))
    assert queried
    assert queried <= measured
    assert 'outcome == "poisoned"' in text
    assert "poisoned" in tables
