"""Runs with seeded faults, and apps that are broken on purpose."""
