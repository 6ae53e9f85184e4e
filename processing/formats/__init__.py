"""Formats of stored data: names of keys, versions, and JSON that every program reads alike."""
