"""A copy of the app's wiring whose lanes ignore the keys."""
