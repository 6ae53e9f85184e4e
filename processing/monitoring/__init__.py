"""Health, metrics and the vitals that instances publish."""
