"""Operator actions on the circuit, approvals, and delivery of remaining alerts."""
