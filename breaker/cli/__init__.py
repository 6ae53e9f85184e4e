"""The circuit's commands: options, circuits and output."""
