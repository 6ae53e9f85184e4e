"""The live page over WebSocket: fan-out, snapshots, who is watching, the incident log."""
