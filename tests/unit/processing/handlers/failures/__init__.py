"""Tests of processing.handlers.failures."""
