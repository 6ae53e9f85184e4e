"""The plan of a load test, with settings, workload and chaos plan."""
