"""Unit tests of local/functions_host."""
