"""Helpers of the local stack's tests."""
