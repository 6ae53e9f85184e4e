"""Faults that a review found, each with a test."""
