"""The stock Event Hubs client in tests, and hand-made AMQP frames."""
