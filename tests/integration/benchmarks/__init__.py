"""Tests on real services of benchmarks."""
