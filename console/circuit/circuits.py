"""The circuits of one console: the app's own, and those of the app's dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from starlette.exceptions import HTTPException
from starlette.types import Scope

from breaker import CircuitBreaker, DependencyCircuits
from breaker.names import SEPARATOR, split_name

PATH = "/api/circuits/"


class Circuits:
    """The circuits by name: `breakwater` for the app's, `breakwater/bank` for a dependency's.

    Only names of known circuits are accepted, so that no request creates a circuit. An opening's
    request for approval is the exception: the store may have lost the dependency's name.

    Args:
        app: the app's circuit.
        dependencies: the circuits of its dependencies; None if there are none.

    Attributes:
        app: as given.
    """

    def __init__(self, app: CircuitBreaker, dependencies: DependencyCircuits | None = None) -> None:
        self.app = app
        self._dependencies = dependencies

    @property
    def dependencies(self) -> Mapping[str, CircuitBreaker]:
        """The known circuits of dependencies, by the dependency's name."""
        return {} if self._dependencies is None else self._dependencies.circuits

    async def deliver_alerts(self) -> int:
        """Publish the undelivered alerts of all circuits, and return their number.

        Raises:
            AlertDeliveryError: an alert was not accepted; the other circuits were tried.
            StoreUnavailableError: the store does not answer.
        """
        try:
            count = await self.app.deliver_alerts()
        finally:
            others = 0 if self._dependencies is None else await self._dependencies.deliver_alerts()
        return count + others

    def named(self, name: str) -> CircuitBreaker:
        """Return the circuit with a full name.

        Raises:
            HTTPException: 404 if there is no such circuit.
        """
        if name == self.app.name:
            return self.app
        found = self.dependencies.get(self._dependency(name))
        if found is None:
            raise _unknown(name)
        return found

    async def of_opening(self, name: str) -> CircuitBreaker:
        """Return the circuit with a full name, of which an opening's alert exists.

        Raises:
            HTTPException: 404 if the name is not valid, or all places of dependencies are taken.
            StoreUnavailableError: the store does not answer.
        """
        try:
            return self.named(name)
        except HTTPException:
            dependency = self._dependency(name)
            if self._dependencies is None or not dependency:
                raise
            found = await self._dependencies.use(dependency)
            if found is None:
                raise
            return found

    def has(self, name: str) -> bool:
        """Return whether a full name is that of the app's circuit, or of one of a dependency."""
        return split_name(name)[0] == self.app.name

    def _dependency(self, name: str) -> str:
        """Return the dependency's name in a circuit's full name; empty if there is none."""
        app, dependency = split_name(name)
        return dependency if app == self.app.name else ""


class AllCircuits:
    """The circuits of several pipelines by name; no two pipelines have one circuit.

    Args:
        pipelines: the circuits of each pipeline.
    """

    def __init__(self, pipelines: Sequence[Circuits]) -> None:
        self._pipelines = pipelines

    def named(self, name: str) -> CircuitBreaker:
        """See `Circuits.named`."""
        return self._of(name).named(name)

    async def of_opening(self, name: str) -> CircuitBreaker:
        """See `Circuits.of_opening`."""
        return await self._of(name).of_opening(name)

    def besides(self, breaker: CircuitBreaker) -> list[CircuitBreaker]:
        """Return the circuits of the other pipelines, which stop and start with the app."""
        own = split_name(breaker.name)[0]
        return [each.app for each in self._pipelines if each.app.name != own]

    def _of(self, name: str) -> Circuits:
        for each in self._pipelines:
            if each.has(name):
                return each
        raise _unknown(name)


def name_and_action(scope: Scope, actions: Mapping[str, object]) -> tuple[str, str]:
    """Return the circuit's name and the action of a request's path; an action may be empty.

    The `/` of a name arrives as `%2F`, and as `/` from a proxy that decodes paths.

    Args:
        scope: the request's scope; its path has `PATH` at the beginning, or after the
            pipeline's prefix.
        actions: the known actions.
    """
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    parts = path.partition(PATH)[2].split("/")  # a pipeline's path has its own prefix
    action = parts.pop() if len(parts) > 1 and parts[-1] in actions else ""
    return SEPARATOR.join(unquote(part) for part in parts), action


def _unknown(name: str) -> HTTPException:
    return HTTPException(404, f"there is no circuit {name[:100]!r} in this console")
