"""Progress per partition: the watermark and the finished events above it."""
