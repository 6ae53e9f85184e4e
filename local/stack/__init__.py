"""The embedded stack as a whole: up, down, status, supervision, the cloud process."""
