"""Faults that a load test injects: outages, kills, dropped links, storage errors."""
