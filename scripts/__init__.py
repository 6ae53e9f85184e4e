"""Checks and helpers of the repository itself."""
