"""The Event Hubs trigger: ownership, balancing, receiving, checkpoints."""
