"""Breakwater's tests."""
