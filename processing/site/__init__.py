"""The function app as a resource of Azure: its state, its stop and start, and what was seen."""
