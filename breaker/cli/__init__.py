"""The command line `python -m breaker`: arguments, circuits and output."""
