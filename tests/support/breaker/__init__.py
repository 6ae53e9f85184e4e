"""Helpers of the breaker's tests: fleets of processes, stores that fail."""
