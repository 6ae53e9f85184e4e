"""Errors of the usual clients, by dotted name, so that no client needs to be installed.

Subclasses also count. Some clients raise the same error for an unreachable server and for a refused
call (redis-py on a cluster, drivers with an OperationalError). Such an error counts as an outage,
because a kept event is not lost.

The names of anthropic, google-auth, kafka-python and pyodbc come from their documentation. All
other names are those of the real clients.
"""

from __future__ import annotations

from processing.handlers.failures.kind import FailureKind

DEPENDENCY_ERRORS = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "asyncio.exceptions.IncompleteReadError",
        "ftplib.error_temp",
        "http.client.HTTPException",
        "imaplib.IMAP4.abort",
        "smtplib.SMTPConnectError",
        "smtplib.SMTPServerDisconnected",
        "socket.gaierror",
        "socket.herror",
        "ssl.SSLError",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "aiokafka.errors.KafkaConnectionError",
        "aiokafka.errors.KafkaTimeoutError",
        "anthropic.APIConnectionError",
        "asyncpg.exceptions.InsufficientResourcesError",
        "asyncpg.exceptions.OperatorInterventionError",
        "asyncpg.exceptions.PostgresConnectionError",
        "azure.core.exceptions.IncompleteReadError",
        "azure.core.exceptions.ServiceRequestError",
        "azure.core.exceptions.ServiceResponseError",
        "azure.cosmos.exceptions.CosmosClientTimeoutError",
        "azure.eventhub.exceptions.ConnectError",
        "azure.eventhub.exceptions.ConnectionLostError",
        "azure.eventhub.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.OperationTimeoutError",
        "azure.servicebus.exceptions.ServiceBusCommunicationError",
        "azure.servicebus.exceptions.ServiceBusConnectionError",
        "azure.servicebus.exceptions.ServiceBusQuotaExceededError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "elastic_transport.ConnectionError",
        "elastic_transport.ConnectionTimeout",
        "google.auth.exceptions.TransportError",
        "httpcore.NetworkError",
        "httpcore.ProxyError",
        "httpcore.RemoteProtocolError",
        "httpcore.TimeoutException",
        "httpx.TransportError",
        "httpx2.TransportError",
        "kafka.errors.KafkaConnectionError",
        "kafka.errors.KafkaTimeoutError",
        "kafka.errors.NoBrokersAvailable",
        "openai.APIConnectionError",
        "oracledb.exceptions.OperationalError",
        "pg8000.exceptions.InterfaceError",
        "pika.exceptions.AMQPConnectionError",
        "pika.exceptions.ChannelWrongStateError",
        "psycopg.OperationalError",
        "psycopg2.OperationalError",
        "psycopg2.errors.ReadOnlySqlTransaction",
        "pymongo.errors.ConnectionFailure",
        "pyodbc.OperationalError",
        "redis.exceptions.ClusterError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.MasterDownError",
        "redis.exceptions.OutOfMemoryError",
        "redis.exceptions.ReadOnlyError",
        "redis.exceptions.RedisClusterException",
        "redis.exceptions.TimeoutError",
        "redis.exceptions.TryAgainError",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "sqlalchemy.exc.DisconnectionError",
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.TimeoutError",
        "stripe._error.APIConnectionError",
        "urllib3.exceptions.ConnectTimeoutError",
        "urllib3.exceptions.NameResolutionError",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.ProxyError",
        "urllib3.exceptions.SSLError",
        "urllib3.exceptions.TimeoutError",
        "valkey.exceptions.ConnectionError",
        "valkey.exceptions.OutOfMemoryError",
        "valkey.exceptions.ReadOnlyError",
        "valkey.exceptions.TimeoutError",
        "websockets.exceptions.ConnectionClosed",
        "websockets.exceptions.InvalidMessage",
    }
)

THROTTLING_ERRORS = frozenset({"azure.servicebus.exceptions.ServiceBusServerBusyError"})

REQUEST_ERRORS = frozenset(
    {
        "http.client.InvalidURL",
        "httpx.LocalProtocolError",
        "httpx.UnsupportedProtocol",
        "httpx2.LocalProtocolError",
        "httpx2.UnsupportedProtocol",
        "requests.exceptions.InvalidProxyURL",
        "urllib3.exceptions.LocationParseError",
    }
)
"""Subclasses of the errors above that mean a request that no server can take: ordinary errors."""

WEBSOCKET_REFUSALS = frozenset({1003, 1007, 1008, 1009, 1010})
"""Codes that close a WebSocket because of a message, such as one that is too big."""

GRPC_KINDS = {
    "DEADLINE_EXCEEDED": FailureKind.DEPENDENCY,
    "UNAVAILABLE": FailureKind.DEPENDENCY,
    "RESOURCE_EXHAUSTED": FailureKind.THROTTLED,
}
"""Status codes of `grpc.RpcError`."""
