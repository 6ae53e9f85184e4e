"""The guarantees of docs/guarantees.md, checked and broken on purpose."""
