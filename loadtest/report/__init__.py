"""The report of a load test: JSON, summary, page and timeline picture."""
