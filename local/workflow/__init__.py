"""The local Logic App, which executes the deployed definition, infra/workflow.json.

- `expressions/`: the expressions of the Workflow Definition Language.
- `definition/`: loading and checking of a definition, order, statuses, retry policies.
- `runs/`: the execution of runs, which survive a restart.
"""

from local.workflow.routes import workflow_routes
from local.workflow.runs.workflow import Workflow

__all__ = ["Workflow", "workflow_routes"]
