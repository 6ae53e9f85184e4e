"""Tests on real services of processing/partitions."""
