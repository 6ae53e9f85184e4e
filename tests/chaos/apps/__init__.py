"""Copies of the app's wiring, each without one part that keeps a promise."""
