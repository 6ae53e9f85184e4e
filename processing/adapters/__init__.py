"""Where things are kept: Redis, Storage queues and blobs, and their in-memory twins."""
