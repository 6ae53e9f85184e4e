"""Runs of a workflow: records, store, HTTP requests, and the interpreter that executes actions."""
