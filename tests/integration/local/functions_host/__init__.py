"""Tests on real services of local/functions_host."""
