"""Processing of one batch: splitting into lanes, the gate, the run and the shutdown."""
