"""The functions of an app, as indexed by the worker."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from local.functions_host.errors import AppLoadError
from local.functions_host.worker.retry_policy import RetryPolicy

LISTENING = ("eventHubTrigger", "timerTrigger", "queueTrigger")
CALLED_OVER_HTTP = ("eventGridTrigger", "httpTrigger")
"""Triggers whose functions are called over HTTP."""
_RETRYABLE = ("eventHubTrigger", "timerTrigger")
"""Triggers whose functions may have a retry policy."""
_INPUTS = ("blob",)
_OUTPUTS = ("http", "queue", "eventHub", "blob")


@dataclass(frozen=True)
class Function:
    """One function: its trigger, its other bindings, its retry policy.

    Attributes:
        trigger: the trigger's binding as in function.json (`type`, `name`, ...).
        outputs: the output bindings.
        retry: None when a failed invocation is not retried.
        inputs: the input bindings besides the trigger.
    """

    name: str
    function_id: str
    trigger: dict[str, Any]
    outputs: tuple[dict[str, Any], ...]
    retry: RetryPolicy | None
    inputs: tuple[dict[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """The trigger's type, such as `eventHubTrigger`."""
        return str(self.trigger["type"])

    @property
    def parameter(self) -> str:
        """The function's parameter that takes the trigger's data."""
        return str(self.trigger["name"])

    @property
    def bindings(self) -> list[dict[str, Any]]:
        """Every binding, the trigger first."""
        return [self.trigger, *self.inputs, *self.outputs]

    @classmethod
    def from_metadata(cls, metadata: Any) -> Function:
        """Build from the worker's RpcFunctionMetadata.

        Raises:
            AppLoadError: the function has no trigger or several, an unsupported binding, or a
                retry policy that its trigger does not support.
        """
        name = str(metadata.name)
        bindings = [json.loads(raw) for raw in metadata.raw_bindings]
        triggers = [binding for binding in bindings if binding["type"].endswith("Trigger")]
        if len(triggers) != 1:
            raise AppLoadError(
                f"function {name!r} has {len(triggers)} triggers; a function takes one"
            )
        retry = RetryPolicy.from_options(name, metadata.retry_options)
        if retry is not None and triggers[0]["type"] not in _RETRYABLE:
            raise AppLoadError(
                f"function {name!r}: a retry policy works only with {' and '.join(_RETRYABLE)}, "
                f"not with {triggers[0]['type']}"
            )
        others = [binding for binding in bindings if binding is not triggers[0]]
        for binding in others:
            direction = _direction(binding)
            known = {"in": _INPUTS, "out": _OUTPUTS}.get(direction, ())
            if binding["type"] not in known:
                raise AppLoadError(
                    f"function {name!r}: binding {binding['name']!r} ({binding['type']}, "
                    f"{direction or 'no direction'}) is not supported by the local host; "
                    f"besides triggers it supports {' and '.join(_INPUTS)} inputs, and "
                    f"{', '.join(_OUTPUTS)} outputs"
                )
        inputs = tuple(binding for binding in others if _direction(binding) == "in")
        outputs = tuple(binding for binding in others if _direction(binding) == "out")
        return cls(name, str(metadata.function_id), triggers[0], outputs, retry, inputs)


def _direction(binding: dict[str, Any]) -> str:
    return str(binding.get("direction", "")).lower()


def check_supported(functions: Iterable[Function]) -> None:
    """Reject an app with a trigger that this host does not support.

    Raises:
        AppLoadError: a trigger is not supported; the message names the function.
    """
    supported = LISTENING + CALLED_OVER_HTTP
    for function in functions:
        if function.kind not in supported:
            raise AppLoadError(
                f"function {function.name!r}: the local host does not support {function.kind}; "
                f"it supports {', '.join(supported)}"
            )
