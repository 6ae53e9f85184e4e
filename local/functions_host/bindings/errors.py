"""The error of a binding during an invocation."""


class BindingFailedError(Exception):
    """A binding's value cannot be read or written; the invocation fails with this message."""
