"""Handlers: the ledger (sample and load test), loading, retries and time limits."""
