"""The child processes of the local stack: what they are, and the supervisor that owns them."""

from local.services.service import Service
from local.services.supervisor import StartError, Supervisor

__all__ = ["Service", "StartError", "Supervisor"]
