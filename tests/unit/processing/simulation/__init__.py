"""A simulated fleet of real processors and replayers on the memory stores, in jumping time."""
