"""An app whose settings declare its pipelines; its code is that of an app with one."""

import azure.functions as func

import breakwater

app = func.FunctionApp()
app.register_functions(breakwater.blueprint())
