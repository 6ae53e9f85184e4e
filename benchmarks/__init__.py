"""Benchmarks of Breakwater beside its peers and bounds (`python -m benchmarks`)."""
