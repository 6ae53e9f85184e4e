"""The function app of Azure's tutorial, as a newcomer writes it."""
