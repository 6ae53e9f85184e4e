"""Unit tests of processing/partitions."""
