"""The three cloud services of the local stack in one process: `python -m local.stack.cloud`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from breaker.configuration.carried import project_folder
from local.event_grid import Topic, topic_routes
from local.event_grid.journal import Journal
from local.event_grid.schedule import RetrySchedule
from local.event_grid.subscription import Subscription
from local.event_grid.webhook import Webhook
from local.files import read_json
from local.management import Management
from local.services.cloud import SITE_PATH, TOPIC
from local.services.ports import LOOPBACK
from local.state_directory import StateDirectory
from local.workflow import Workflow, workflow_routes
from local.workflow.routes import OPENED, TRIGGER_PATH
from local.workflow.runs.interpreter import Settings
from local.workflow.runs.requests import HttpSender
from local.workflow.runs.store import RunStore

DEFINITION = project_folder() / "infra" / "workflow.json"
_TIMEOUT_SECONDS = 30
_ENVIRONMENT = ("EVENT_GRID_TOPIC_KEY", "CONSOLE_URL", "CONSOLE_TOKEN")


@dataclass(frozen=True)
class CloudSettings:
    """The settings of the cloud process."""

    port: int
    directory: StateDirectory
    console_url: str
    topic_key: str = field(repr=False)
    console_token: str = field(repr=False)
    grid_retry_scale: float = 1.0
    workflow_retry_scale: float = 1.0
    stop_seconds: float = 0.0

    @property
    def url(self) -> str:
        """The base URL of this process."""
        return f"http://{LOOPBACK}:{self.port}"


def build_app(settings: CloudSettings) -> Starlette:
    """Compose the application; deliveries and runs are active during its lifespan."""
    # Loopback calls must not go through a proxy that the environment names.
    client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)
    topic = Topic(
        TOPIC,
        settings.topic_key,
        Webhook(client),
        schedule=RetrySchedule(scale=settings.grid_retry_scale),
        journal=Journal(settings.directory.data / "event_grid.jsonl"),
    )
    workflow = Workflow(
        read_json(DEFINITION) or {},
        Settings(
            HttpSender(client),
            _workflow_parameters(settings),
            f"{settings.url}/workflows",
            scale=settings.workflow_retry_scale,
        ),
        RunStore(settings.directory.data / "workflow"),
    )
    management = Management(settings.directory, stop_seconds=settings.stop_seconds)
    trigger_sig = secrets.token_urlsafe(32)
    subscription = Subscription(
        "circuit-opened", f"{settings.url}{TRIGGER_PATH}?sig={trigger_sig}", frozenset({OPENED})
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # The endpoint is this process: it does not listen yet and needs no validation request.
        await topic.subscribe(subscription, validated=True)
        topic.resume()
        workflow.resume()
        async with client:
            yield
            await topic.aclose()
            await workflow.aclose()
            await management.aclose()

    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            *topic_routes(topic),
            *workflow_routes(workflow, trigger_sig),
            *management.routes(),
        ],
        lifespan=lifespan,
    )


def _workflow_parameters(settings: CloudSettings) -> dict[str, str]:
    """Return the definition's parameters with local addresses; without `mailTo` no mail is sent."""
    return {
        "functionAppUrl": f"{settings.url}{SITE_PATH}",
        "managementAudience": settings.url,
        "consoleUrl": settings.console_url,
        "consoleToken": settings.console_token,
        "mailEndpoint": settings.url,
        "mailFrom": "",
        "mailTo": "",
    }


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def main() -> None:
    """Serve until SIGTERM."""
    settings = _settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines hold the URLs' signatures
    uvicorn.run(
        build_app(settings),
        host=LOOPBACK,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


def _settings() -> CloudSettings:
    parser = argparse.ArgumentParser(
        prog="python -m local.stack.cloud",
        description=f"{__doc__} Reads {', '.join(_ENVIRONMENT)} from the environment.",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--grid-retry-scale", type=float, default=1.0)
    parser.add_argument("--workflow-retry-scale", type=float, default=1.0)
    parser.add_argument("--stop-seconds", type=float, default=0.0)
    args = parser.parse_args()
    if missing := [name for name in _ENVIRONMENT if not os.environ.get(name)]:
        parser.error(f"these environment variables are not set: {', '.join(missing)}")
    return CloudSettings(
        port=args.port,
        directory=StateDirectory(args.state_dir.absolute()),
        console_url=os.environ["CONSOLE_URL"],
        topic_key=os.environ["EVENT_GRID_TOPIC_KEY"],
        console_token=os.environ["CONSOLE_TOKEN"],
        grid_retry_scale=args.grid_retry_scale,
        workflow_retry_scale=args.workflow_retry_scale,
        stop_seconds=args.stop_seconds,
    )


if __name__ == "__main__":
    main()
