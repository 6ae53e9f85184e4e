"""Small reproductions of known faults; each prints what is wrong today. See README.md."""
