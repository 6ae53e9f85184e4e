"""The hub's partitions: positions, checkpoints, lag, rewind."""
