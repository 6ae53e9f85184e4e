"""The storage accounts of an app, and their clients."""
