"""Tests of the benchmarks on real services."""
