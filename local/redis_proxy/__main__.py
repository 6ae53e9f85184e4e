"""The command line of the proxy (`python -m local.redis_proxy`)."""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from contextlib import closing

from local.lifeline import stop_requested
from local.redis_proxy.control import control_app
from local.redis_proxy.proxy import HOST, SwitchingProxy
from local.web import Server


def main(arguments: list[str] | None = None) -> int:
    """Run the proxy until SIGTERM, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m local.redis_proxy",
        description="Run a proxy in front of Redis servers, with a control port for failovers.",
    )
    add = parser.add_argument
    add("--port", type=int, required=True, help="port for the clients")
    add("--control-port", type=int, required=True, help="HTTP port for health and faults")
    add(
        "--server",
        type=int,
        action="append",
        required=True,
        metavar="PORT",
        help="port of a server; repeatable, and new connections first go to the first one",
    )
    args = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(SwitchingProxy(args.server, args.port), args.control_port))
    except OSError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(proxy: SwitchingProxy, control_port: int) -> None:
    async with stop_requested(lifeline=False) as stop, proxy:
        with closing(socket.create_server((HOST, control_port))) as listener:
            server = Server(control_app(proxy), listener)
            await server.start()
            await stop.wait()
            await server.stop()


if __name__ == "__main__":
    sys.exit(main())
