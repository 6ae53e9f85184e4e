"""Access control of the console: bearer token, sessions, login and revoked sessions."""
