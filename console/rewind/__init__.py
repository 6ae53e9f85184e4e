"""Rewinds from the page: stop, rewind and start as one job."""
