"""An app whose pipelines share one turn."""
