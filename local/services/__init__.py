"""The child processes of the local stack: their descriptions and their supervisor."""

from local.services.service import Service
from local.services.supervisor import StartError, Supervisor

__all__ = ["Service", "StartError", "Supervisor"]
