"""Helpers of the load test's tests."""
