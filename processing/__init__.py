"""Processing of event batches: lanes per key, retries, poison queue, parking and progress."""
