"""The hub's state: partition logs, retention, epochs, throttling, injected faults."""
