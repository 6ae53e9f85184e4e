"""A copy of the app's wiring that stores no progress."""
