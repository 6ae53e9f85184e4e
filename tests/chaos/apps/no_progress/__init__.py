"""A copy of the app's wiring that remembers no progress."""
