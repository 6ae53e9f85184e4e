"""Whole runs of the load test, by command line."""
