"""A function app as a newcomer writes it, from the tutorial."""
