"""Tests of apps that use the public face, with real services."""
