"""Who may use the console: bearer token, sessions, login and revoked sessions."""
