"""Breakwater side by side with its peers and bounds, in one run (`python -m benchmarks`)."""
