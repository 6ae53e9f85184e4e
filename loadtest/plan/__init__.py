"""What a load test will do: settings, workload, chaos plan."""
