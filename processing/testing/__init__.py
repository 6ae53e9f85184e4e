"""The test kit: runs a handler on the shipped processor, on memory stores and a test clock."""
