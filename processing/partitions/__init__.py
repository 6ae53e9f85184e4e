"""The hub's partitions: positions, checkpoints, lag and rewind."""
