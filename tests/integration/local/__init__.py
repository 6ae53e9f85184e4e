"""Tests on real services of local."""
