"""An app with a function that is declared wrongly: the parameter has another name."""

import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def tick(clock: func.TimerRequest) -> None:
    """Never runs."""
