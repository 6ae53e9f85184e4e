"""A process is dead only if its own entry shows that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from processing.crashes.process import ProcessName

THIS = ProcessName.current()


def test_name_survives_its_text() -> None:
    """The store has the text only."""
    assert ProcessName.parse(str(THIS)) == THIS
    assert " " not in str(THIS)


@pytest.mark.parametrize("text", ["", "a/b/c", "a/1", "a/1/2/3"])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ProcessName.parse(text)


def test_this_process_is_alive() -> None:
    assert THIS.has_died() is False


def test_killed_process_is_dead_before_its_parent_notices() -> None:
    """The parent of the process may not have asked for its exit code yet."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        stat = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        name = replace(THIS, pid=child.pid, started=stat[19])
        assert name.has_died() is False
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert name.has_died() is True
        child.wait()
        assert name.has_died() is True


def test_process_with_the_id_of_a_dead_one_is_another_process() -> None:
    """Containers begin with the same ids again."""
    assert replace(THIS, started="1").has_died() is True


def test_other_machine_is_unknown() -> None:
    """Only its heartbeat says whether the process lives."""
    assert replace(THIS, machine="elsewhere").has_died() is None
    assert replace(THIS, started="-").has_died() is None
