"""Unit tests of processing/handlers."""
