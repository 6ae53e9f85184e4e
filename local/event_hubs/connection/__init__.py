"""One AMQP connection: links, request-reply nodes, publishers and subscriptions."""
