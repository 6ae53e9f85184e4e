"""Tests of one module or a few, in memory; folders mirror the packages."""
