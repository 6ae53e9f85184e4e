"""The triggers, which start functions: one module for each kind."""
