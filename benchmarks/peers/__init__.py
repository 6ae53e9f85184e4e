"""The peers that Breakwater is compared with, each used as its documentation shows."""
