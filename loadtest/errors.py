"""Errors of the load test.

LoadTestError
├── UsageError      the command line is invalid (exit code 2)
├── StackError      the stack failed to start or stop, or died during the run
└── OperatorError   the approval failed
"""

from __future__ import annotations


class LoadTestError(Exception):
    """A failure that keeps the test from reaching a verdict."""


class UsageError(LoadTestError):
    """An invalid command line; the message says what the option accepts."""


class StackError(LoadTestError):
    """A stack that did not start, died, or left a process; the message names the log."""


class OperatorError(LoadTestError):
    """An approval that was refused or failed."""
