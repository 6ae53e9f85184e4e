"""The functions of an app: an event trigger of each pipeline, two timers, and two health routes.

Each function translates its binding and calls one object, the `Application`. The module has no
`from __future__ import annotations`, because the worker reads the annotations of the functions.
"""

import gc
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import List  # noqa: UP035 - see process_events
from weakref import WeakValueDictionary

import azure.functions as func

from breaker.configuration.lookup import value_of
from breaker.configuration.pipelines import Pipeline
from processing.bootstrap import Application
from processing.errors import SettingsError
from processing.event import EventBatch

logger = logging.getLogger(__name__)

PREFIX = "breakwater_"
"""The default beginning of the functions' names."""

ROUTE = "breakwater"
"""The default beginning of the routes."""

BOUND = ("EVENT_HUB_NAME", "EVENT_HUB_CONSUMER_GROUP")
"""The settings that the host, not the app, puts into the trigger."""


class Blueprint(func.Blueprint):
    """The functions of one app, and the objects that they call.

    Attributes:
        application: the objects; an app that ends by itself calls `application.aclose()`.
    """

    def __init__(self, application: Application) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.application = application


_readers: "WeakValueDictionary[tuple[str, str], Blueprint]" = WeakValueDictionary()
"""The blueprints of this process by the hub and the consumer group that they read."""


def blueprint(
    settings: Mapping[str, str] | None = None, *, prefix: str = PREFIX, route: str = ROUTE
) -> Blueprint:
    """Return the functions that receive the events, for `app.register_functions`.

    The settings are checked and the handler is imported at once, so that a wrong setting stops the
    host from starting, with a message, instead of failing every event. Nothing is connected before
    the first event, timer or health request.

    An app has one blueprint for a hub and consumer group. A second one would receive the events of
    half of the partitions, and the first one would never see them.

    With declared pipelines (PIPELINES=orders,audit) there is one event function for each of them,
    such as `{prefix}process_events_orders`. The other functions do the work of all pipelines.

    | function | trigger |
    |---|---|
    | `{prefix}process_events` | the hub EVENT_HUB_NAME in the namespace of EventHubConnection |
    | `{prefix}deliver_alerts` | each 10 s: alerts that a dead instance has not published |
    | `{prefix}replay_deferred` | each 5 s: deferred keys that are due |
    | `{prefix}health` | `GET {route}/health`, with a function key |
    | `{prefix}live` | `GET {route}/live`, without a key |

    Args:
        settings: the app settings; None means `os.environ`.
        prefix: the beginning of the functions' names: letters, digits, `_` and `-`, the first one
            a letter; "" for none.
        route: the beginning of the routes, below the host's route prefix `api`; "" for none.

    Raises:
        SettingsError, breaker.SettingsError, PipelineError: a setting is missing, unknown or out of
            bounds.
        HandlerLoadError: EVENT_HANDLER does not name a handler.
        HostJsonError: with the options of host.json the app would lose or repeat events.
        ValueError: the prefix or the route cannot be used; or another blueprint of this process
            reads the hub with the same consumer group.

    Example:
        >>> import azure.functions as func
        >>> import breakwater
        >>> app = func.FunctionApp()
        >>> app.register_functions(breakwater.blueprint())
    """
    settings = os.environ if settings is None else settings
    if not re.fullmatch(r"([A-Za-z][A-Za-z0-9_-]{0,99})?", prefix):
        raise ValueError(
            f"prefix is {prefix!r}; it takes up to 100 letters, digits, '_' and '-', the first "
            "one a letter, or ''"
        )
    if not re.fullmatch(r"([A-Za-z0-9_.~-]+(/[A-Za-z0-9_.~-]+)*)?", route):
        raise ValueError(
            f"route is {route!r}; it takes a path without a slash at its ends, such as "
            "'orders/breakwater', or ''"
        )
    application = Application(settings)
    application.check()
    for pipeline in application.pipelines:
        _check_bound(pipeline)
    reads = [_only_reader(pipeline) for pipeline in application.pipelines]
    functions = Blueprint(application)
    for pipeline in application.pipelines:
        _add_trigger(functions, prefix, pipeline)
    _add_timers(functions, prefix)
    _add_routes(functions, prefix, f"{route}/" if route else "")
    for each in reads:
        _readers[each] = functions
    return functions


def _check_bound(pipeline: Pipeline) -> None:
    """Refuse settings that name another hub than the one that the host reads.

    Raises:
        SettingsError: the environment has another value.
    """
    for plain in BOUND:
        name = pipeline.variable(plain)
        bound, given = value_of(os.environ, name), value_of(pipeline.settings, plain)
        if bound and bound != given:
            raise SettingsError(
                f"the setting {name} is {given!r}, but the app setting in the environment is "
                f"{bound!r}, and the host reads the app setting; both must be the same"
            )


def _only_reader(pipeline: Pipeline) -> tuple[str, str]:
    """Return the hub and the consumer group; no other blueprint of this process reads them.

    Raises:
        ValueError: a blueprint reads them already.
    """
    # Event Hubs ignores the case of these names.
    hub, group = (value_of(pipeline.settings, name).lower() for name in BOUND)
    if (hub, group) in _readers:
        gc.collect()  # the functions refer to their blueprint, so a dropped one stays until then
    if (hub, group) in _readers:
        raise ValueError(
            f"this app has a blueprint for the hub {hub!r} and the consumer group {group!r} "
            "already; with a second one, the host would give each of them the events of only half "
            "of the partitions. Register one blueprint: Routes call a handler for each type of "
            "event, and PIPELINES declares several pipelines, each with a hub or a consumer group "
            "of its own"
        )
    return hub, group


def _add_trigger(functions: Blueprint, prefix: str, pipeline: Pipeline) -> None:
    hub, group = map(pipeline.variable, BOUND)

    @functions.function_name(
        f"{prefix}process_events_{pipeline.name}"
        if pipeline.declared
        else f"{prefix}process_events"
    )
    @functions.event_hub_message_trigger(
        arg_name="events",
        event_hub_name=f"%{hub}%",
        connection="EventHubConnection",
        consumer_group=f"%{group}%",
        cardinality="many",
        # BINARY passes every body unchanged; the other data types drop empty bodies, or parse them.
        data_type="binary",
    )
    # Unlimited: an invocation that fails has unfinished events, and after the last retry the host
    # would write a checkpoint past them.
    @functions.retry(strategy="fixed_delay", max_retry_count="-1", delay_interval="00:00:05")
    async def process_events(events: List[func.EventHubEvent]) -> None:  # noqa: UP006 - the worker refuses list[...]
        """Handle a batch. An exception prevents the host from checkpointing the batch."""
        await functions.application.process(EventBatch.from_binding(events, pipeline.name))


def _add_timers(functions: Blueprint, prefix: str) -> None:
    @functions.function_name(f"{prefix}deliver_alerts")
    @functions.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
    async def deliver_alerts(timer: func.TimerRequest) -> None:
        """Publish alerts that an instance stored in Redis but did not publish before it died."""
        delivered = await functions.application.deliver_alerts()
        if delivered:
            logger.warning("Published %s alerts that another instance had not published", delivered)

    @functions.function_name(f"{prefix}replay_deferred")
    @functions.timer_trigger(arg_name="timer", schedule="*/5 * * * * *")
    async def replay_deferred(timer: func.TimerRequest) -> None:
        """Replay deferred keys that are due, also those of partitions that get no events."""
        await functions.application.replay_deferred()


def _add_routes(functions: Blueprint, prefix: str, route: str) -> None:
    @functions.function_name(f"{prefix}health")
    @functions.route(route=f"{route}health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
    async def health(req: func.HttpRequest) -> func.HttpResponse:
        """Return the state of circuits and partitions, watermarks and lag; no secrets."""
        report = await functions.application.health()
        return func.HttpResponse(
            json.dumps(report.to_json(), indent=2),
            mimetype="application/json",
            status_code=200 if report.is_healthy else 503,
        )

    @functions.function_name(f"{prefix}live")
    @functions.route(route=f"{route}live", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def live(req: func.HttpRequest) -> func.HttpResponse:
        """Return 200 as long as the process answers; a stalled partition needs no restart."""
        return func.HttpResponse("ok", mimetype="text/plain")
