"""Dependencies: what a handler's calls need, each with a circuit of its own.

`dependency` is the handler's side. The other modules are the side of the lanes and the replays.
"""

from processing.dependencies.block import dependency

__all__ = ["dependency"]
