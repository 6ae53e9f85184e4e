"""The order of the deployment, and what a second deployment keeps."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import pytest

from breaker.configuration.pipelines import pipelines_of
from scripts.check_infra.alarms import read_split_queries
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
    "appStorage": "appStorage",
    "poisonQueue": "storage appStorage",
    "deadLetterContainer": "appStorage",
    "packageContainer": "storage",
    "eventHubs": "eventHubs",
    "hub": "eventHubs",
    "redis": "redis",
    "topic": "topic",
    "functionApp": "functionApp",
    "registry": "consoleEnvironment",
    "workflow": "workflow",
    "mail": "mail",
}
"""The module or the modules that create the resource of each computed name."""


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
    creators = [set(CREATORS[name].split()) for name in named & CREATORS.keys()]
    needed = set().union(*(each for each in creators if module not in each))
    assert needed <= waits_for(module)


@pytest.mark.parametrize("module", MODULES)
def test_modules_do_not_wait_for_each_other(module: str) -> None:
    assert module not in waits_for(module)


def test_dead_letter_right_is_granted_long_before_the_subscription() -> None:
    """Azure takes minutes to apply a right; Redis, and so the app, takes longer."""
    assert waits_for("deadLetterAccess") == {"topic", "appStorage", "monitoring"}
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


def test_console_may_write_checkpoints_and_nothing_else_of_the_hosts_account() -> None:
    """A rewind moves checkpoints; the account also has the package, which is code."""
    code = files()["modules/console-access.bicep"].code
    roles = re.findall(
        r"name: guid\((\w+)(?:\[index\])?\.id, principalId, blobDataContributor\)", code
    )
    assert sorted(roles) == ["checkpoints", "earlierContainer", "poisonContainer"]
    assert "\n      checkpointContainer\n" in MODULES["storage"], "the role needs the container"
    assert "var checkpointContainer = 'azure-webjobs-eventhub'" in RESOURCES


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


def test_only_the_apps_account_keeps_deleted_blobs() -> None:
    """Azure does not support soft delete under the host's checkpoints and leases."""
    assert "softDelete: false" in MODULES["storage"]
    assert "softDelete: true" in MODULES["appStorage"]
    blobs = files()["modules/storage.bicep"].resources()["blobs"]["config"]["properties"]
    assert blobs["isVersioningEnabled"] is False
    code = files()["modules/storage.bicep"].code
    retention = (
        r"var retention = softDelete \? \{\s+enabled: true\s+days: 7\s+\} : \{\s+enabled: false"
    )
    assert re.search(retention, code)
    assert code.count("RetentionPolicy: retention") == 2


def test_accounts_log_deletions_only() -> None:
    """A look at a full poison queue is about a thousand reads and writes."""
    code = files()["modules/storage.bicep"].code
    assert re.findall(r"category: '(Storage\w+)'", code) == ["StorageDelete", "StorageDelete"]


def test_data_of_the_app_is_in_its_own_account() -> None:
    """The app and the console have both accounts; dead letters go to the app's."""
    for name in ("functionApp", "console"):
        assert "    storageBlobUri: storage.outputs.blobUri" in MODULES[name]
        assert "    appStorageBlobUri: appStorage.outputs.blobUri" in MODULES[name]
        assert "    appStorageQueueUri: appStorage.outputs.queueUri" in MODULES[name]
    for name in ("deadLetterAccess", "topicSubscription"):
        assert "storageName: names.appStorage" in MODULES[name]
    for module in ("function-app", "console"):
        code = files()[f"modules/{module}.bicep"].code
        assert re.search(r"BreakwaterStorage__blobServiceUri: appStorageBlobUri", code)
        assert re.search(r"BreakwaterStorage__queueServiceUri: appStorageQueueUri", code)
        assert re.search(r"AzureWebJobsStorage__blobServiceUri: storageBlobUri", code)


def test_host_has_the_name_of_its_account_and_its_table() -> None:
    """By service addresses alone, the host's keys sometimes fail at the start (host#11787)."""
    assert (
        "AzureWebJobsStorage__accountName: storageName"
        in files()["modules/function-app.bicep"].code
    )
    rights = files()["modules/function-access.bicep"].resources()
    assert "tableAccess" in rights


def test_each_service_has_a_private_endpoint_and_a_zone() -> None:
    """Two endpoints of one kind share a zone, because a zone's name is unique in the group."""
    code = files()["modules/private-endpoints.bicep"].code
    found = re.findall(r"resourceId: (\w+)\s+group: '(\w+)'\s+zone: zoneNames\[(\d)\]", code)
    assert found == [
        ("storageId", "blob", "0"),
        ("storageId", "queue", "1"),
        ("storageId", "table", "2"),
        ("appStorageId", "blob", "0"),
        ("appStorageId", "queue", "1"),
        ("eventHubsId", "namespace", "3"),
        ("redisId", "redisEnterprise", "4"),
        ("topicId", "topic", "5"),
    ]
    zones = code.partition("var zoneNames = [")[2].partition("]")[0].split()
    assert [zone.strip("'").removeprefix("privatelink.").partition(".")[0] for zone in zones] == [
        *("blob", "queue", "table"),
        *("servicebus", "redis", "eventgrid"),
    ]


def test_guide_lists_the_templates_that_are_not_compiled() -> None:
    """Every template has changed since the compiler last read the templates."""
    guide = (INFRA.parent / "docs" / "deploy.md").read_text()
    listed = guide.partition("with the Bicep compiler:\n")[2].partition("- ARM's own")[0]
    assert set(re.findall(r"`([\w-]+)`", listed)) == {Path(name).stem for name in files()}


def test_deployment_without_pipelines_has_the_hub_and_the_queue_of_earlier_versions() -> None:
    """An app without pipelines keeps its resources, and so its data and its rights."""
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert parameters["pipelines"]["value"] == []
    single = RESOURCES.partition("var sources = empty(pipelines) ? [")[2].partition("] : map")[0]
    assert dict(re.findall(r"(\w+): ([\w.{}']+)", single)) == {
        "name": "''",
        "hub": "names.hub",
        "consumerGroup": "names.consumerGroup",
        "partitions": "partitions",
        "queue": "names.poisonQueue",
        "handler": "eventHandler",
        "settings": "{}",
    }
    assert "var pipelineSettings = empty(pipelines) ? {} : union({" in RESOURCES
    names = dict(re.findall(r"^  (\w+): '([\w-]+)'$", RESOURCES, re.MULTILINE))
    assert [names[name] for name in ("hub", "consumerGroup", "consoleConsumerGroup")] == [
        "events",
        "app",
        "console",
    ]
    assert names["poisonQueue"] == "poison"


def test_setting_of_a_pipeline_is_not_overwritten_by_a_default() -> None:
    """The hub, group, handler and queue may stand among the pipeline's settings as well."""
    computed = re.findall(
        r"^  ([A-Z_]+): each\.(\w+)$", RESOURCES.partition("var ownSettings")[2], re.MULTILINE
    )
    assert {name for name, _ in computed} == {
        "EVENT_HUB_NAME",
        "EVENT_HUB_CONSUMER_GROUP",
        "EVENT_HANDLER",
        "POISON_QUEUE",
    }
    sources = RESOURCES.partition("] : map(pipelines")[2].partition("})")[0]
    for name, field in computed:
        [value] = re.findall(rf"^  {field}: (.*)$", sources, re.MULTILINE)
        assert f"each.?settings.?{name} ?? " in value


def test_app_and_console_get_the_settings_of_all_pipelines() -> None:
    for module in ("function-app", "console"):
        code = files()[f"modules/{module}.bicep"].code
        assert re.search(r"union\(loadJsonContent.*, pipelineSettings[,)]", code, re.DOTALL)
    for name in ("functionApp", "console"):
        assert "    pipelineSettings: pipelineSettings\n" in MODULES[name]


def test_each_hub_and_queue_has_its_rights() -> None:
    """A right of the first hub or queue only would let the other pipelines fail on Azure."""
    rights = {
        ("function-access", "poisonQueues"): 2,
        ("function-access", "hubNames"): 1,
        ("console-access", "poisonQueues"): 4,
        ("console-access", "hubNames"): 1,
        ("operator-access", "hubNames"): 2,
    }
    for (module, names), count in rights.items():
        code = files()[f"modules/{module}.bicep"].code
        loops = re.findall(
            rf"roleAssignments@[^']+' = \[for \(_, index\) in {names}: \{{\n"
            r"  name: guid\((\w+)\[index\]\.id, principalId, \w+\)\n  scope: (\w+)\[index\]\n",
            code,
        )
        assert len(loops) == count
        assert all(named == scope for named, scope in loops)


def test_hub_and_groups_come_from_the_pipelines() -> None:
    resources = files()["modules/event-hubs.bicep"].code
    assert "= [for each in hubs: {\n  parent: namespace\n  name: each.name\n" in resources
    assert "= [for each in consumerGroups: {\n  name: '${name}/${each}'\n" in resources
    assert "queues@2025-06-01' = [for queue in poisonQueues: {" in (
        files()["modules/storage.bicep"].code
    )


def test_alarms_about_events_are_split_by_pipeline() -> None:
    """One alarm over all pipelines stays quiet about a second one while the first one stalls."""
    split = read_split_queries(INFRA / "modules" / "alerts.bicep").keys()
    assert split == {
        "alert-undelivered by circuit",
        "poison-arrived by pipeline",
        "lag-growing by pipeline",
        "partition-stalled by pipeline",
        "events-expired by pipeline",
        "replays-stopped by pipeline",
    }
    code = files()["modules/alerts.bicep"].code
    assert code.count("byPipeline && contains(alert, 'by')") == 2
    assert "byPipeline: !empty(pipelines)" in MODULES["alerts"]


def test_example_of_the_guide_is_an_app_with_pipelines() -> None:
    """The template's settings for the example are those that the app accepts."""
    guide = (INFRA.parent / "docs" / "deploy.md").read_text()
    declared = json.loads(re.findall(r'"pipelines": (\{.*?\n\})', guide, re.DOTALL)[0])["value"]
    accepted = set(re.findall(r"each\.\??(\w+)", RESOURCES.partition("] : map")[2].split("//")[0]))
    assert {key for each in declared for key in each} <= accepted

    settings = {"PIPELINES": ",".join(each["name"] for each in declared)}
    for each in declared:
        own = {"EVENT_HUB_NAME": each.get("hub", each["name"]), **each.get("settings", {})}
        own["EVENT_HUB_CONSUMER_GROUP"] = each.get("consumerGroup", "app")
        settings |= {f"PIPELINE_{each['name'].upper()}_{name}": own[name] for name in own}
    assert [each.name for each in pipelines_of(settings)] == [each["name"] for each in declared]


def test_only_the_file_without_resources_has_lambdas() -> None:
    """The parser of checkov knows no lambdas, and checkov skips a file that it cannot parse."""
    assert [name for name, file in files().items() if "=>" in file.code] == ["resources.bicep"]
    assert not files()["resources.bicep"].resources()
