"""Chaos: faults drawn from a seed and done to a running stack, the same ones for the same seed."""
