"""The elected instance that polls the hub, checkpoints and vitals for all others."""
