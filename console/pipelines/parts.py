"""The parts that one pipeline's console is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from breaker import CircuitBreaker, DependencyCircuits
from breaker.configuration.pipelines import DEFAULT
from console.backplane.coordination import Coordination
from console.backplane.stream import Backplane
from console.reader.vitals import VitalsSource
from processing.site.watch import SiteWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineParts:
    """The parts of one pipeline, not yet started; each part but the circuit may be None.

    Attributes:
        breaker: the circuit.
        name: the pipeline's name.
        declared: whether PIPELINES names it; the only pipeline of an app need not be declared.
        dependencies: the circuits of the pipeline's dependencies; None: none.
        coordination: shared by all instances; None: in memory, for a single instance.
        queue_coordination: shared by all consoles that show this poison queue, also by consoles of
            other apps; None: `coordination`.
        backplane: shared by all instances; None: in memory, for a single instance.
        vitals: source of the function app's vitals; None: none.
        watch: collects what is seen of the function app; None: the circuit's record alone.
        app_settings: the pipeline's settings, which name its hub, storage and handler.
    """

    breaker: CircuitBreaker
    name: str = DEFAULT
    declared: bool = False
    dependencies: DependencyCircuits | None = None
    coordination: Coordination | None = None
    queue_coordination: Coordination | None = None
    backplane: Backplane | None = None
    vitals: VitalsSource | None = None
    watch: SiteWatch | None = None
    app_settings: Mapping[str, str] = field(default_factory=dict, repr=False)
