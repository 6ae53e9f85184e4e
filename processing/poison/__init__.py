"""Poison messages, their queue, and claim checks for large messages."""
