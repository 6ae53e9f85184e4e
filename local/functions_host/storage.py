"""How this host talks to storage."""

from __future__ import annotations

from typing import Any

QUICK_RETRIES: dict[str, Any] = {
    "retry_total": 2,
    "initial_backoff": 0.2,
    "increment_base": 1,
    "random_jitter_range": 0.1,
}
"""Client options: the SDK's own policy waits 15 s before its first retry, longer than a lease here.

Every caller tries again by itself, so giving up soon is safe.
"""
