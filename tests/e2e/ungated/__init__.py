"""A copy of the app's wiring without the breaker's gate."""
