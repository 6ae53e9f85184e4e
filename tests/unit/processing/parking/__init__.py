"""Unit tests of processing/parking."""
