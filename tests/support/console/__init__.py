"""Helpers of the console's tests: servers, fleets, a browser."""
