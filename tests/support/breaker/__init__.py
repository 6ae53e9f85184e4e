"""Helpers of the breaker's tests: fleets of processes, unreliable stores."""
