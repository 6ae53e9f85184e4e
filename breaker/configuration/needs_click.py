"""A check that the command lines' library is installed; a deployed app has only what it imports.

A `__main__` module imports this module before its commands. Without the library the import ends the
program with the reason.
"""

try:
    import click  # noqa: F401
except ModuleNotFoundError:
    raise SystemExit("breakwater: the commands need click: pip install breakwater") from None
