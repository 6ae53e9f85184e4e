"""The Logic App's stand-in: stops the app on an opening, asks the operator, starts it again."""

from local.workflow.engine import Workflow
from local.workflow.routes import workflow_routes

__all__ = ["Workflow", "workflow_routes"]
