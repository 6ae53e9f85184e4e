"""Tests of deferring."""
