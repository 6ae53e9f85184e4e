"""How long tests wait for what must come.

These bound a hang and nothing else: on a machine that is busy enough, any answer may take seconds.
"""

STORE_SECONDS = 30.0
"""For a store in Redis, where it is not its patience that is tested."""
HANG_SECONDS = 60.0
"""For anything else that must happen."""
