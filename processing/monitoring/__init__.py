"""Health reports, metrics, and the vitals that instances publish."""
