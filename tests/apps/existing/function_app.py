"""An app that existed before, with its own route; two lines add Breakwater."""

import azure.functions as func

import breakwater

app = func.FunctionApp()
app.register_functions(breakwater.blueprint())


@app.route(route="orders/{number:int}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def order(req: func.HttpRequest) -> str:
    """Return the number of an order."""
    return f"order {req.route_params['number']}"
