"""Those that Breakwater is compared with, each used as its own documentation shows."""
