"""Errors of clients that are not installed here, by class names and attributes.

The shapes were seen in the errors of asyncpg 0.32.0, azure-cosmos 4.17.1, azure-servicebus 7.15.0,
botocore 1.44.8, elasticsearch 9.5.1, google-api-core 2.44.0, grpcio 1.85.3, mysql-connector-python
26.10.0, openai 3.57.0, oracledb 26.1.0, pg8000 1.31.6, psycopg 3.3.9, SQLAlchemy 2.1.9, stripe
16.1.0 and valkey 6.2.0. The shapes of pyodbc are those of its documentation.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from processing.handlers.failures.classification import Classifier
from processing.handlers.failures.kind import FailureKind, Verdict

DEPENDENCY = Verdict(FailureKind.DEPENDENCY)
THROTTLED = Verdict(FailureKind.THROTTLED)
ORDINARY = Verdict(FailureKind.EXHAUSTED)
PSYCOPG2 = "psycopg2.InterfaceError"
ASYNCPG = "asyncpg.exceptions._base.InterfaceError"
ORACLEDB = "oracledb.exceptions.InterfaceError"


def error(name: str, *args: object, **attributes: Any) -> Exception:
    """Return an error of a class with this dotted name, with these arguments and attributes."""
    module, _, qualified = name.rpartition(".")
    kind = type(qualified, (Exception,), {"__module__": module})
    found: Exception = kind(*args)
    vars(found).update(attributes)
    return found


def kept(kind: Verdict, retry_after: float) -> Verdict:
    return Verdict(kind.kind, retry_after)


def answer(status: int, **headers: str) -> SimpleNamespace:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return SimpleNamespace(status_code=status, headers=names)


def aws(code: str, status: int, **headers: str) -> Exception:
    details = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    response = {"Error": {"Code": code}, "ResponseMetadata": details}
    return error("botocore.exceptions.ClientError", response=response)


def sql(state: str) -> Exception:
    return error("psycopg.errors.Any", sqlstate=state)


def rpc(status: str) -> Exception:
    return error("grpc.RpcError", code=lambda: SimpleNamespace(name=status))


CASES: dict[str, tuple[Exception, Verdict]] = {
    "PostgreSQL, read only": (sql("25006"), DEPENDENCY),
    "PostgreSQL, too many connections": (sql("53300"), DEPENDENCY),
    "PostgreSQL, shutdown": (sql("57P01"), DEPENDENCY),
    "PostgreSQL, deadlock": (sql("40P01"), DEPENDENCY),
    "PostgreSQL, duplicate key": (sql("23505"), ORDINARY),
    "psycopg2, read only": (error("psycopg2.errors.Any", pgcode="25006"), DEPENDENCY),
    "pg8000, disk full": (error("pg8000.exceptions.DatabaseError", {"C": "53100"}), DEPENDENCY),
    "pg8000, syntax": (error("pg8000.exceptions.DatabaseError", {"C": "42601"}), ORDINARY),
    "pyodbc, connection lost": (error("pyodbc.Error", "08S01", "x"), DEPENDENCY),
    "pyodbc, Azure SQL is busy": (error("pyodbc.Error", "HY000", "x (40501) (SQL)"), DEPENDENCY),
    "pyodbc, syntax": (error("pyodbc.Error", "42000", "near 40501 (102)"), ORDINARY),
    "MySQL's connector, read only": (
        error("mysql.connector.errors.DatabaseError", "1290 (HY000): x", errno=1290),
        DEPENDENCY,
    ),
    "MySQL's connector, duplicate key": (
        error("mysql.connector.errors.DatabaseError", "1062 (23000): x", errno=1062),
        ORDINARY,
    ),
    "SQLAlchemy, read only": (error("sqlalchemy.exc.InternalError", orig=sql("25006")), DEPENDENCY),
    "SQLAlchemy, duplicate key": (
        error("sqlalchemy.exc.IntegrityError", orig=sql("23505")),
        ORDINARY,
    ),
    "psycopg2, closed": (error(PSYCOPG2, "connection already closed"), DEPENDENCY),
    "psycopg2, cursor of a closed one": (error(PSYCOPG2, "cursor already closed"), DEPENDENCY),
    "psycopg2, wrong use": (error(PSYCOPG2, "the cursor has no connection"), ORDINARY),
    "psycopg, closed": (error("psycopg.InterfaceError", "the connection is closed"), DEPENDENCY),
    "psycopg, closed in use": (
        error("psycopg.OperationalError", "the connection is closed"),
        DEPENDENCY,
    ),
    "psycopg, closed cursor": (error("psycopg.InterfaceError", "the cursor is closed"), ORDINARY),
    "asyncpg, closed": (
        error(ASYNCPG, "cannot perform operation: connection is closed"),
        DEPENDENCY,
    ),
    "asyncpg, closed with a cursor": (
        error(ASYNCPG, "cannot call Cursor.fetch(): the underlying connection is closed"),
        DEPENDENCY,
    ),
    "asyncpg, given back": (
        error(
            ASYNCPG,
            "cannot call Cursor.fetch(): "
            "the underlying connection has been released back to the pool",
        ),
        ORDINARY,
    ),
    "MySQL's connector, closed": (
        error("mysql.connector.errors.OperationalError", "MySQL Connection not available."),
        DEPENDENCY,
    ),
    "MySQL's connector, wrong use": (
        error("mysql.connector.errors.OperationalError", "No result set to fetch from"),
        ORDINARY,
    ),
    "asyncpg, closed before": (error(ASYNCPG, "connection is closed"), DEPENDENCY),
    "asyncpg, busy": (
        error(ASYNCPG, "cannot perform operation: another operation is in progress"),
        ORDINARY,
    ),
    "asyncpg, wrong argument": (
        error(ASYNCPG, "the server expects 1 argument: connection is closed was passed"),
        ORDINARY,
    ),
    "oracledb, not connected": (
        error(ORACLEDB, "DPY-1001: not connected to database\nsee https://x"),
        DEPENDENCY,
    ),
    "oracledb, closed cursor": (error(ORACLEDB, "DPY-1006: cursor is not open"), ORDINARY),
    "SQLAlchemy, closed": (
        error(
            "sqlalchemy.exc.InterfaceError",
            "(psycopg2.InterfaceError) connection already closed",
            orig=error(PSYCOPG2, "connection already closed"),
        ),
        DEPENDENCY,
    ),
    "SQLAlchemy, wrong use": (
        error(
            "sqlalchemy.exc.InterfaceError",
            "(psycopg2.InterfaceError) the cursor has no connection",
            orig=error(PSYCOPG2, "the cursor has no connection"),
        ),
        ORDINARY,
    ),
    "SQLite, closed by the handler": (
        error("sqlite3.ProgrammingError", "Cannot operate on a closed database."),
        ORDINARY,
    ),
    "own error with such a text": (error("my.InterfaceError", "connection is closed"), ORDINARY),
    "AWS, throttling": (aws("ThrottlingException", 400), THROTTLED),
    "AWS, slow down": (aws("SlowDown", 503), THROTTLED),
    "AWS, unavailable": (
        aws("ServiceUnavailable", 503, **{"retry-after": "4"}),
        kept(DEPENDENCY, 4),
    ),
    "AWS, denied": (aws("AccessDenied", 403), ORDINARY),
    "Google, quota": (error("google.api_core.exceptions.GoogleAPICallError", code=429), THROTTLED),
    "Google, unavailable": (
        error("google.api_core.exceptions.GoogleAPICallError", code=503),
        DEPENDENCY,
    ),
    "gRPC, unavailable": (rpc("UNAVAILABLE"), DEPENDENCY),
    "gRPC, exhausted": (rpc("RESOURCE_EXHAUSTED"), THROTTLED),
    "gRPC, wrong argument": (rpc("INVALID_ARGUMENT"), ORDINARY),
    "OpenAI, limit": (
        error("openai.X", response=answer(429, retry_after="9", retry_after_ms="2500")),
        kept(THROTTLED, 2.5),
    ),
    "Cosmos, limit": (
        error("azure.cosmos.X", status_code=429, headers={"x-ms-retry-after-ms": "1500"}),
        kept(THROTTLED, 1.5),
    ),
    "Elasticsearch, limit": (
        error("elasticsearch.ApiError", status_code=429, meta=answer(429, retry_after="3")),
        kept(THROTTLED, 3),
    ),
    "Stripe, unavailable": (error("stripe._error.APIError", http_status=503), DEPENDENCY),
    "Stripe, refused": (error("stripe._error.APIConnectionError"), DEPENDENCY),
    "Service Bus, busy": (
        error("azure.servicebus.exceptions.ServiceBusServerBusyError"),
        THROTTLED,
    ),
    "Valkey, full": (error("valkey.exceptions.OutOfMemoryError"), DEPENDENCY),
    "Valkey, no replicas": (
        error("valkey.exceptions.ResponseError", "NOREPLICAS Not enough good replicas"),
        DEPENDENCY,
    ),
    "WebSocket, restart": (
        error("websockets.exceptions.ConnectionClosed", rcvd=SimpleNamespace(code=1012)),
        DEPENDENCY,
    ),
    "WebSocket, message too big": (
        error("websockets.exceptions.ConnectionClosed", rcvd=SimpleNamespace(code=1009)),
        ORDINARY,
    ),
    "status of another kind": (error("my.Error", status="open", status_code=200), ORDINARY),
}


@pytest.mark.parametrize("case", CASES)
def test_shapes_of_other_clients_are_known(case: str) -> None:
    """A driver's outage must not fill the poison queue, nor a wrong statement stop a key."""
    failure, verdict = CASES[case]
    assert Classifier().judge(failure) == verdict
