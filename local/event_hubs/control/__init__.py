"""The control server: create hubs, inject faults, steal partitions."""
