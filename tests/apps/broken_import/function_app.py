"""An app that cannot be imported."""

import azure.functions as func
import there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401

app = func.FunctionApp()
