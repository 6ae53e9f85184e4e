"""A fleet on a simulated clock that drives the real circuit breaker."""
