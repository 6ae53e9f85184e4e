"""Tests of the load test on real services."""
