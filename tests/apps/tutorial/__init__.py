"""A function app as a newcomer writes it after the first pages of Azure's documentation."""
