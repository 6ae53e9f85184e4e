"""Programs that benchmarks start as child processes."""
