"""Time limits of tests for results that must come.

The limits only end a hanging test. On a busy machine any answer may take seconds.
"""

STORE_SECONDS = 30.0
"""The time limit of a store in Redis, in tests of something else than that limit."""
HANG_SECONDS = 60.0
"""The time limit for any other event."""
