import azure.functions as func

import breakwater

app = func.FunctionApp()
app.register_functions(breakwater.blueprint())
