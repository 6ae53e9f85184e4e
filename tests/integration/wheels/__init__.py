"""Tests of the two wheels: what is in them, and what an installed one does on first use."""
