"""One AMQP connection: its links, request-reply nodes, publishers and subscriptions."""
