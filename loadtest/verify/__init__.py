"""The verdict of a load test, from evidence collected outside the app."""
