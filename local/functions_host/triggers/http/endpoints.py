"""HTTP functions: requests to invocations, results to responses."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from local.functions_host.errors import AppLoadError
from local.functions_host.triggers.http.routes import Route, parse_route
from local.functions_host.worker.cancellation import CancellationToken
from local.functions_host.worker.execution import Executor, Invocation
from local.functions_host.worker.worker import Datum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.requests import Request

    from local.functions_host.worker.functions import Function
    from local.functions_host.worker.worker import Result

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Endpoint:
    """One HTTP function with its route; empty `methods` accept any method."""

    function: Function
    route: Route
    methods: frozenset[str]

    @classmethod
    def of(cls, function: Function) -> Endpoint:
        """Build an endpoint from the function's binding.

        Raises:
            AppLoadError: the route template is invalid.
        """
        methods = function.trigger.get("methods") or ()
        try:
            route = parse_route(str(function.trigger.get("route") or function.name))
        except ValueError as error:
            raise AppLoadError(f"function {function.name!r}: {error}") from None
        return cls(function, route, frozenset(str(method).upper() for method in methods))


class HttpFunctions:
    """The HTTP functions of an app; runs the one that matches a request."""

    def __init__(self, endpoints: Iterable[Endpoint], executor: Executor) -> None:
        self.endpoints = sorted(endpoints, key=lambda endpoint: endpoint.route.precedence)
        self._executor = executor

    async def handle(self, request: Request, path: str) -> Response:
        """Answer a request for `path`, the part after the route prefix; 404 without a match."""
        for endpoint in self.endpoints:
            if endpoint.methods and request.method not in endpoint.methods:
                continue
            parameters = endpoint.route.match(path)
            if parameters is not None:
                return await self._run(endpoint.function, request, parameters)
        return Response(status_code=404)

    async def _run(
        self, function: Function, request: Request, parameters: dict[str, str]
    ) -> Response:
        invocation = Invocation(
            http_datum(
                request.method,
                str(request.url),
                await request.body(),
                headers=request.headers,
                query=request.query_params,
                parameters=parameters,
            ),
            {},
            "This function was programmatically called via the host APIs.",
        )
        work = self._executor.start(
            self._executor.execute(function, invocation, CancellationToken())
        )
        return to_response(function, await work)


def http_datum(
    method: str,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str] = _NOTHING,
    query: Mapping[str, str] = _NOTHING,
    parameters: Mapping[str, str] = _NOTHING,
) -> Datum:
    """Build the trigger data of an HTTP function."""

    def strings(values: Mapping[str, str]) -> dict[str, Datum]:
        return {name: Datum(value, "string") for name, value in values.items()}

    return Datum(
        {
            "method": Datum(method, "string"),
            "url": Datum(url, "string"),
            "headers": strings(headers),
            "query": strings(query),
            "params": strings(parameters),
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def to_response(function: Function, result: Result) -> Response:
    """Convert an invocation's result to a response; a failure is a 500 without a body.

    A function that sets no response answers 200 without a body, as on Azure
    (azure-functions-host, FunctionInvocationMiddleware). A value of another binding is no response.
    """
    if not result.ok:
        return Response(status_code=500)
    datum = _http_value(function, result)
    if datum is None or datum.value is None:
        return Response(status_code=200)
    if datum.type != "http":
        return Response(str(datum.value), media_type="text/plain")
    fields: dict[str, Any] = datum.value
    response = Response(fields["body"].value, status_code=int(fields["status_code"].value))
    for name, value in fields["headers"].items():
        response.headers[name] = value.value
    for cookie in fields.get("cookies") or ():
        for morsel in cookie.values():
            response.headers.append("set-cookie", morsel.OutputString())
    return response


def _http_value(function: Function, result: Result) -> Datum | None:
    """Return the value of the function's `http` output, if it set one."""
    for binding in function.outputs:
        if binding["type"] == "http":
            name = str(binding["name"])
            return result.value if name == "$return" else result.outputs.get(name)
    return None
