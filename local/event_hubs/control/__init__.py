"""The control port: create and delete hubs, inject faults, steal partitions."""
