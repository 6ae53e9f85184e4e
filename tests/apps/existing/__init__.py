"""A function app with functions of its own, which also uses Breakwater."""
