"""The child process of P10, which imports modules and times the last import.

The arguments are the modules' names. Standard output is one line, the seconds of the last import.
Then the process waits for the end of its input, so that its memory can be measured. This program
imports nothing else, so that each import of the measured module counts.
"""

import sys
import time

started = 0.0
for name in sys.argv[1:]:
    started = time.perf_counter()
    __import__(name)
sys.stdout.write(f"{time.perf_counter() - started}\n")
sys.stdout.flush()
sys.stdin.read()
