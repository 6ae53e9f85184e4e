"""The model of deferring: random runs of the real parts, checked for loss and overtaking."""
