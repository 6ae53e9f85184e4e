"""Tests of the circuits of dependencies."""
