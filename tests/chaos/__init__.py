"""Runs under seeded faults, and apps that are broken on purpose."""
