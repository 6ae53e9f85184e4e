"""Where a circuit lives: in this process or in Redis, by the same rules."""
