"""Formats of stored data: names of keys, versions, JSON, and the migration of older versions."""
