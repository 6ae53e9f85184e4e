"""Sends ordered messages through the system and verifies from the outside what became of them."""
