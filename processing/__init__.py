"""What happens to a batch of events: lanes per key, retries, poison, progress."""
