"""The Python worker library, driven in process: loading, execution, outputs, retries."""
