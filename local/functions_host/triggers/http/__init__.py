"""HTTP triggers: routes and endpoints."""
