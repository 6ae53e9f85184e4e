"""Handlers that come with Breakwater: the ledger, a sample and the load test's witness."""
