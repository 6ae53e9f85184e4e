"""Whole runs of the load test by its command line."""
