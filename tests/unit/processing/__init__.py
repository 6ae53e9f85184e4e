"""Unit tests of processing."""
