"""The watchdog: an event loop that stands still is named, and in the end its process ends."""
