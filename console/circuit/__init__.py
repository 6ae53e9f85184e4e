"""Operators' acts on the circuit: approvals, closing, isolating, alert delivery."""
