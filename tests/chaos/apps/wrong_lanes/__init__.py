"""A copy of the app's wiring whose lanes are not those of the keys."""
