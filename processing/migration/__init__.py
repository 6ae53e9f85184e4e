"""Migration of the data that older versions of the app wrote to Redis."""
