"""A handler that writes to a SQL database exactly once: `EVENT_HANDLER=sql_sink:Balances`.

The event's id and its effect are in one transaction. If the process dies before the commit, neither
is there, and the event's next delivery does the work. If it dies after the commit, the next
delivery finds the id and changes nothing. The setting BALANCES is the path of a SQLite database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Self

from pydantic import BaseModel

from breakwater import Event

TABLES = """
CREATE TABLE IF NOT EXISTS handled_events (
    id TEXT PRIMARY KEY, handled_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, cents INTEGER NOT NULL);
"""
NOTE = "INSERT INTO handled_events (id) VALUES (?) ON CONFLICT (id) DO NOTHING"
NOTE_POSTGRESQL = "INSERT INTO handled_events (id) VALUES (%s) ON CONFLICT (id) DO NOTHING"
"""The same for psycopg; `$1` instead of `%s` for asyncpg. A second transaction with the same id
waits for the first one, and then inserts no row."""
PAY = """
INSERT INTO balances (account, cents) VALUES (?, ?)
ON CONFLICT (account) DO UPDATE SET cents = balances.cents + excluded.cents
"""
FORGET = "DELETE FROM handled_events WHERE handled_at < datetime('now', '-100 days')"
"""Run this once a day, with more days than the hub keeps events."""


class Payment(BaseModel):
    """The body of an event."""

    account: str
    cents: int


class Balances:
    """A handler that adds each payment to its account; plain, so that it runs in a thread."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """Return a handler for the database of the app settings."""
        return cls(settings["BALANCES"])

    def start(self) -> None:
        """Create the tables."""
        with closing(sqlite3.connect(self._path, timeout=30)) as database:
            database.executescript(TABLES)

    def __call__(self, payment: Payment, event: Event) -> None:
        """Add a payment to its account, unless the database has the event."""
        # `with database` commits, or rolls back after an error.
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            if database.execute(NOTE, (event.id,)).rowcount:
                self.pay(database, payment)

    def pay(self, database: sqlite3.Connection, payment: Payment) -> None:
        """Do the work of one event, in its transaction."""
        database.execute(PAY, (payment.account, payment.cents))
