"""Helpers for the tests of the load test."""
