"""The observation of a running load test, with samples, completion and progress display."""
