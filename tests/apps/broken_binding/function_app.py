"""An app with a wrong function, whose parameter has another name than its binding."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def tick(clock: func.TimerRequest) -> None:
    """Fail to load."""
