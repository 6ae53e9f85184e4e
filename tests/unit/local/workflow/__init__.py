"""The unit tests of the workflow interpreter."""
