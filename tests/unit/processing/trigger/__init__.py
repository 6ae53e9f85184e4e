"""Unit tests of processing/trigger."""
