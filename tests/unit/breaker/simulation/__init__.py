"""A fleet on a simulated clock, which drives the real circuit breaker and the real memory store.

The fleet imitates what processing does with a breaker: batches, lanes, attempts, kept events, and
keys that step aside. The seed of a broken run is in the test's message; the same seed gives the
same run.
"""
