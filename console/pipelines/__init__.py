"""The pipelines of one app: a part of the console for each, and what all parts share."""
