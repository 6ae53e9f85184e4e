"""The meaning of a handler's errors: whether the event, a dependency or the app is at fault."""
