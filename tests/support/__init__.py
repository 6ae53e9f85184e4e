"""Shared parts of the tests: processes, rigs, fakes and handlers."""
