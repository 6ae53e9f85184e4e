"""Live updates over WebSocket: fan-out, snapshots, presence, the incident log."""
