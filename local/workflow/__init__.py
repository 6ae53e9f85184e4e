"""The local Logic App, which stops the app when a circuit opens and starts it after approval."""

from local.workflow.engine import Workflow
from local.workflow.routes import workflow_routes

__all__ = ["Workflow", "workflow_routes"]
