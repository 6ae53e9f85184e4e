"""Errors of the operating system, of Redis and of databases that are not the event's fault.

The numbers of SQL Server and the states of ODBC come from their manuals, because pyodbc could not
be tried here; nor could asyncmy, mariadb and mysqlclient. Errors of the other drivers were tried.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Set

from processing.handlers.failures.causes import attribute
from processing.handlers.raised import describe

_ERRNOS = frozenset(
    number
    for name in (
        *("EADDRNOTAVAIL", "EAGAIN", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EDQUOT", "EIO"),
        *("EHOSTDOWN", "EHOSTUNREACH", "EMFILE", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENFILE"),
        *("ENOBUFS", "ENOMEM", "ENOSPC", "ENOTCONN", "EPIPE", "EROFS", "ESHUTDOWN", "ESTALE"),
        "ETIMEDOUT",
    )
    if (number := getattr(errno, name, None)) is not None  # Windows has not all of them
)
_SEVERAL = "Multiple exceptions: "
"""The beginning of asyncio's error, without an errno, when all addresses of a host failed."""
_ERRNO = re.compile(r"\[Errno (-?\d+)\]")

# A pipeline or a script puts its own words before the server's code.
_REDIS = re.compile(
    r"(?:^|caused error: |: )-?"
    r"(?:NOREPLICAS|MISCONF|READONLY|OOM|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOAUTH) "
)
_REDIS_ERRORS = frozenset({"redis.exceptions.ResponseError", "valkey.exceptions.ResponseError"})

# The outage before closed the connection. The same classes carry errors of the handler's own code.
_CLOSED = {
    "asyncpg.exceptions._base.InterfaceError": re.compile(
        r"(?:cannot perform operation: |cannot call [\w.]+\(\): the underlying )?"
        r"connection is closed$"
    ),
    "mysql.connector.errors.OperationalError": re.compile("MySQL Connection not available"),
    "oracledb.exceptions.InterfaceError": re.compile("DPY-1001:"),
    "psycopg.InterfaceError": re.compile("the connection is closed$"),
    # A cursor of a closed connection is also closed.
    "psycopg2.InterfaceError": re.compile("(?:connection|cursor) already closed$"),
}

_SQL_CLASSES = ("08", "53", "58")  # connection, insufficient resources, system error
_SQL_STATES = frozenset(
    {
        "25006",  # read-only
        *("40001", "40P01", "55P03"),  # serialization, deadlock, lock: others are at fault
        *("57014", "57P01", "57P02", "57P03", "57P05"),  # timeout of a statement, shutdown
        *("HYT00", "HYT01"),  # timeouts of ODBC
    }
)
_SQL_SERVER = frozenset(  # read-only database; moved, busy or overloaded databases of Azure SQL
    {3906, 4060, 10928, 10929, 40197, 40501, 40613, 49918, 49919, 49920}
)
_SQL_SERVER_NUMBER = re.compile(r"\((\d{4,5})\)")

_MYSQL_PACKAGES = ("pymysql.", "MySQLdb.", "mysql.connector.", "asyncmy.", "aiomysql.", "mariadb.")
_MYSQL = frozenset(
    {
        0,  # PyMySQL: the connection is closed
        *(1021, 1114),  # disk full, table full
        *(1037, 1038, 1041),  # out of memory
        *(1040, 1203, 1226),  # too many connections
        *(1042, 1043, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1927),  # connection, shutdown
        *(1205, 1213),  # lock wait timeout, deadlock: other transactions are at fault
        *(1290, 1792, 1836, 3032),  # read-only, offline
        *range(2000, 2063),  # errors of the client library
    }
)
_SQLITE = frozenset({5, 6, 7, 8, 10, 13, 14})  # BUSY LOCKED NOMEM READONLY IOERR FULL CANTOPEN
_SMTP = frozenset({421, 451, 452})  # closing, local error, out of storage


def is_unavailable(error: BaseException, names: Set[str]) -> bool:
    """Return whether a resource, a server or a database cannot serve any event at present.

    Args:
        error: the error.
        names: the names of its classes.
    """
    if isinstance(error, OSError) and _has_errno(error):
        return True
    if names & _REDIS_ERRORS:
        return _REDIS.search(describe(error)) is not None
    if any(_CLOSED[name].match(describe(error)) for name in names & _CLOSED.keys()):
        return True
    if any(map(_is_sql_unavailable, _sql_states(error, names))):
        return True
    if any(name.startswith(_MYSQL_PACKAGES) for name in names):
        numbers = (_first_argument(error), attribute(error, "errno"))
        return any(isinstance(each, int) and each in _MYSQL for each in numbers)
    if isinstance(code := attribute(error, "sqlite_errorcode"), int):
        return code & 0xFF in _SQLITE  # the upper bits have details
    if "pyodbc.Error" in names:
        return not _SQL_SERVER.isdisjoint(map(int, _SQL_SERVER_NUMBER.findall(describe(error))))
    return "smtplib.SMTPResponseException" in names and attribute(error, "smtp_code") in _SMTP


def _has_errno(error: OSError) -> bool:
    if error.errno is None and (text := describe(error)).startswith(_SEVERAL):
        return any(int(number) in _ERRNOS for number in _ERRNO.findall(text))
    return error.errno in _ERRNOS


def _sql_states(error: BaseException, names: Set[str]) -> Iterator[str]:
    """Yield the SQLSTATE of psycopg, asyncpg and MySQL's connector, psycopg2, pyodbc, pg8000."""
    found = [attribute(error, "sqlstate"), attribute(error, "pgcode")]
    if "pyodbc.Error" in names:
        found.append(_first_argument(error))
    if any(name.startswith("pg8000.") for name in names):
        fields = _first_argument(error)
        found.append(fields.get("C") if isinstance(fields, dict) else None)
    yield from (state for state in found if isinstance(state, str))


def _is_sql_unavailable(state: str) -> bool:
    return state in _SQL_STATES or state[:2] in _SQL_CLASSES


def _first_argument(error: BaseException) -> object:
    return error.args[0] if error.args else None
