"""A copy of the app's wiring that neither holds nor retries."""
