"""The producer process that sends the ordered events."""
