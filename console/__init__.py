"""The operator console: the page, its API and the approvals API for the workflow."""
