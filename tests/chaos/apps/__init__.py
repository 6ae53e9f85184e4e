"""Copies of the app's wiring, each with one thing taken out that keeps a promise."""
