"""The deployed app, which is the shortest use of Breakwater's functions."""

import os

import azure.functions as func

import breakwater

app = func.FunctionApp()
# Without a prefix the functions keep the names that infra/ and docs/operations.md use.
app.register_functions(breakwater.blueprint(os.environ, prefix="", route=""))
