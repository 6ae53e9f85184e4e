"""Tests of the blocks of a handler around its dependencies."""
