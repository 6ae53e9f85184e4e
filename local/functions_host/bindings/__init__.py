"""The bindings besides triggers: blob inputs, and blob, queue and event hub outputs."""
