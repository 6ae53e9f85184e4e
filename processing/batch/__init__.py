"""One batch's way through the app: split into lanes, gate, run, shut down."""
