"""The index of the poison queue: what the queue contains, without receiving its messages."""
