"""What a running load test watches: samples, completion, the progress display."""
