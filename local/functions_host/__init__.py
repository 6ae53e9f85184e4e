"""A Functions host for one machine: runs function_app.py on Microsoft's own Python worker library.

The worker library indexes and invokes the functions. This package adds triggers, retry policies,
checkpoints, settings, HTTP and admin endpoints, and instances that share work.
"""
