"""Errors of the load test.

LoadTestError
├── UsageError      the command line asks for something impossible (exit code 2)
├── StackError      the stack could not be started, stopped, or died under the test
└── OperatorError   the approval did not get through
"""

from __future__ import annotations


class LoadTestError(Exception):
    """Something kept the test from reaching a verdict."""


class UsageError(LoadTestError):
    """The command line asks for something impossible; the message says what it takes."""


class StackError(LoadTestError):
    """The stack did not start, died, or left something behind; the message names the log."""


class OperatorError(LoadTestError):
    """The approval was refused or did not get through."""
