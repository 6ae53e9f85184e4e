"""Workflow definitions: loading and checking, the order of actions, retry policies, statuses."""

from local.workflow.definition.loading import Definition, load_definition
from local.workflow.definition.problems import DefinitionError

__all__ = ["Definition", "DefinitionError", "load_definition"]
