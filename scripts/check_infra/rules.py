"""The rules for the Bicep files, each a function from files to problems."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.check_infra.bicep import BicepFile, body
from scripts.check_infra.names import principal_problems, start_problems

type Files = Mapping[str, BicepFile]

EXPECTED: Mapping[str, Mapping[str, int]] = {
    "main.bicep": {"Microsoft.Resources/resourceGroups": 1},
    "resources.bicep": {},
    "modules/alerts.bicep": {
        "Microsoft.Insights/actionGroups": 1,
        "Microsoft.Insights/metricAlerts": 1,
        "Microsoft.Insights/scheduledQueryRules": 1,
    },
    "modules/console-access.bicep": {"Microsoft.Authorization/roleAssignments": 9},
    "modules/console-environment.bicep": {
        "Microsoft.App/managedEnvironments": 1,
        "Microsoft.ContainerRegistry/registries": 1,
        "Microsoft.Insights/diagnosticSettings": 1,
    },
    "modules/console-image.bicep": {},
    "modules/console.bicep": {"Microsoft.App/containerApps": 1},
    "modules/dead-letter-access.bicep": {"Microsoft.Authorization/roleAssignments": 1},
    "modules/event-hubs.bicep": {
        "Microsoft.EventHub/namespaces": 1,
        "Microsoft.EventHub/namespaces/eventhubs": 1,
        "Microsoft.EventHub/namespaces/eventhubs/consumergroups": 1,
        "Microsoft.Insights/diagnosticSettings": 1,
    },
    "modules/function-access.bicep": {"Microsoft.Authorization/roleAssignments": 7},
    "modules/function-app.bicep": {
        "Microsoft.Insights/diagnosticSettings": 1,
        "Microsoft.Web/serverfarms": 1,
        "Microsoft.Web/sites": 1,
        "Microsoft.Web/sites/basicPublishingCredentialsPolicies": 2,
        "Microsoft.Web/sites/config": 1,
    },
    "modules/identities.bicep": {"Microsoft.ManagedIdentity/userAssignedIdentities": 2},
    "modules/mail-access.bicep": {"Microsoft.Authorization/roleAssignments": 1},
    "modules/mail.bicep": {
        "Microsoft.Authorization/roleDefinitions": 1,
        "Microsoft.Communication/communicationServices": 1,
        "Microsoft.Communication/emailServices": 1,
        "Microsoft.Communication/emailServices/domains": 1,
    },
    "modules/monitoring.bicep": {
        "Microsoft.Insights/components": 1,
        "Microsoft.OperationalInsights/workspaces": 1,
    },
    "modules/network.bicep": {
        "Microsoft.Insights/diagnosticSettings": 1,
        "Microsoft.Network/networkSecurityGroups": 1,
        "Microsoft.Network/virtualNetworks": 1,
    },
    "modules/operate-access.bicep": {"Microsoft.Authorization/roleAssignments": 1},
    "modules/operate-role.bicep": {"Microsoft.Authorization/roleDefinitions": 1},
    "modules/operator-access.bicep": {"Microsoft.Authorization/roleAssignments": 7},
    "modules/private-endpoints.bicep": {
        "Microsoft.Network/privateDnsZones": 1,
        "Microsoft.Network/privateDnsZones/virtualNetworkLinks": 1,
        "Microsoft.Network/privateEndpoints": 1,
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": 1,
    },
    "modules/redis-access.bicep": {
        "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": 1
    },
    "modules/redis.bicep": {
        "Microsoft.Cache/redisEnterprise": 1,
        "Microsoft.Cache/redisEnterprise/databases": 1,
        "Microsoft.Insights/diagnosticSettings": 1,
    },
    "modules/storage.bicep": {
        "Microsoft.Insights/diagnosticSettings": 2,
        "Microsoft.Storage/storageAccounts": 1,
        "Microsoft.Storage/storageAccounts/blobServices": 1,
        "Microsoft.Storage/storageAccounts/blobServices/containers": 1,
        "Microsoft.Storage/storageAccounts/queueServices": 1,
        "Microsoft.Storage/storageAccounts/queueServices/queues": 1,
    },
    "modules/topic-subscription.bicep": {
        "Microsoft.EventGrid/topics/eventSubscriptions": 1,
    },
    "modules/topic.bicep": {
        "Microsoft.EventGrid/topics": 1,
        "Microsoft.Insights/diagnosticSettings": 1,
    },
    "modules/workflow.bicep": {
        "Microsoft.Insights/diagnosticSettings": 1,
        "Microsoft.Logic/workflows": 1,
    },
}
"""Every resource declaration, so that none is lost or added without a review."""

_SECRET = re.compile(r"\b(listKeys|listAccountSas|listServiceSas|listSecrets|listCredentials)\b")
_CALLBACK_URL = "listCallbackUrl"
_CALLBACK_URL_FILE = "modules/topic-subscription.bicep"


def bicep_problems(files: Files, parameters_file: Path) -> Iterator[str]:
    """Yield one line per problem of the files."""
    yield from _counts(files)
    for file in files.values():
        yield from _unused(file)
        yield from _secrets(file)
        yield from _suppressions(file)
        yield from _unexplained_rights(file)
        yield from principal_problems(file)
    yield from _modules(files)
    yield from start_problems(files)
    yield from _bounds(files["main.bicep"])
    yield from _parameters(files["main.bicep"], parameters_file)


def _counts(files: Files) -> Iterator[str]:
    for file in files.values():
        for kind, declared in file.declared.items():
            if (read := len(file.part(kind))) != declared:
                yield f"{file.name}: {declared} {kind} are declared, but {read} were parsed"
        if (found := dict(file.types())) != (expected := EXPECTED.get(file.name)):
            yield f"{file.name}: creates {found}, expected {expected}"
    for name in EXPECTED.keys() - files.keys():
        yield f"{name}: the file is missing"


def _unused(file: BicepFile) -> Iterator[str]:
    for kind in ("parameters", "variables"):
        for name in file.part(kind):
            if file.uses(name) < 2:
                yield f"{file.name}: {name} is declared and never used"
    for name, resource in file.part("resources").items():
        if resource["existing"] and file.uses(name) < 2:
            yield f"{file.name}: existing resource {name} is never used"


def _secrets(file: BicepFile) -> Iterator[str]:
    if found := _SECRET.search(file.code):
        yield f"{file.name}: {found[0]} reads a key; use an identity instead"
    if _CALLBACK_URL in file.code and file.name != _CALLBACK_URL_FILE:
        yield f"{file.name}: {_CALLBACK_URL} is only accepted in {_CALLBACK_URL_FILE}"
    secure = {
        name
        for name, parameter in file.part("parameters").items()
        if any(each["type"] == "secure" for each in parameter["decorators"])
    }
    for line in re.findall(r"^output .*$", file.code, re.MULTILINE):
        leaked = [name for name in secure if re.search(rf"\b{name}\b", line)]
        if leaked or _CALLBACK_URL in line:
            yield f"{file.name}: the output contains a secret: {line}"
    for name in file.part("parameters"):
        if re.search(r"token|password|secret|key$", name, re.IGNORECASE) and name not in secure:
            yield f"{file.name}: parameter {name} has the name of a secret, but is not @secure()"


def _suppressions(file: BicepFile) -> Iterator[str]:
    for number, line in enumerate(file.text.splitlines(), 1):
        if "checkov:skip" in line and not re.search(r"checkov:skip=CKV\w+:.{20,}", line):
            yield f"{file.name}:{number}: a suppression takes the form checkov:skip=<id>:<reason>"


def _unexplained_rights(file: BicepFile) -> Iterator[str]:
    lines = file.text.splitlines()
    for number, line in enumerate(lines):
        if "roleAssignments@" in line and not lines[number - 1].startswith("//"):
            yield f"{file.name}:{number + 1}: the comment with the reason for the role is missing"


def _modules(files: Files) -> Iterator[str]:
    referenced = {"main.bicep"}
    for file in files.values():
        for name, module in file.part("modules").items():
            path = posixpath.join(posixpath.dirname(file.name), module["detail"]["path"])
            if (called := files.get(path)) is None:
                yield f"{file.name}: module {name}: {path} does not exist"
                continue
            referenced.add(path)
            yield from _call(file, name, set(body(module).get("params", {})), called)
    for name in files.keys() - referenced:
        yield f"{name}: no module uses it"


def _call(file: BicepFile, name: str, given: set[str], called: BicepFile) -> Iterator[str]:
    parameters = called.part("parameters")
    required = {each for each, parameter in parameters.items() if parameter["default"] is None}
    for missing in sorted(required - given):
        yield f"{file.name}: module {name} lacks the parameter {missing}"
    for unknown in sorted(given - parameters.keys()):
        yield f"{file.name}: module {name} has no parameter {unknown}"
    asked = set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", file.code))
    for unknown in sorted(asked - called.part("outputs").keys()):
        yield f"{file.name}: module {name} has no output {unknown}"
    for output in sorted(called.part("outputs").keys() - asked):
        yield f"{called.name}: the output {output} is never used"


def _bounds(main: BicepFile) -> Iterator[str]:
    for name, parameter in main.part("parameters").items():
        decorators = {each["type"] for each in parameter["decorators"]}
        if "description" not in decorators:
            yield f"{main.name}: parameter {name} has no description"
        bounded = "allowed" in decorators or {"min_value", "max_value"} <= decorators
        if parameter["type"] == "int" and not bounded:
            yield f"{main.name}: parameter {name} has no bounds"


def _parameters(main: BicepFile, file: Path) -> Iterator[str]:
    given = set(json.loads(file.read_text())["parameters"])
    parameters = main.part("parameters")
    for missing in sorted(parameters.keys() - given):
        yield f"{file.name}: {missing} is missing"
    for unknown in sorted(given - parameters.keys()):
        yield f"{file.name}: {unknown} is not a parameter of main.bicep"
