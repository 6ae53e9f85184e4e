"""Tests of the console on real services."""
