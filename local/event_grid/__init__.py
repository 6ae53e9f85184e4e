"""An Event Grid topic endpoint: publishing, webhook subscriptions and delivery with retries."""

from local.event_grid.routes import topic_routes
from local.event_grid.topic import Topic

__all__ = ["Topic", "topic_routes"]
