"""The operator console: approvals API (the page follows)."""
