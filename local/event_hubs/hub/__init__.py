"""The state of a hub: partition logs, retention, epochs, throttling, injected faults."""
