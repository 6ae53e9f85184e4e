"""The flight recorder: a small file that names the calls of this process, also after its death.

The file is a memory map, so that a record is written without a system call and outlives the
process. It is written before each call of a plain handler, because such a call can hold the
interpreter, so that nothing else in the process runs any more.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import stat
import tempfile
import time
from collections import deque
from pathlib import Path

from processing.identity import Identity

SLOT_BYTES = 512
SLOTS = 512
RECORDS_BYTES = SLOT_BYTES * SLOTS
"""Size of all records; the stack that the watchdog writes stands behind them."""
SUFFIX = ".flight"


class FlightRecorder:
    """The records of this process in a file of its own, which is locked while the process lives.

    Args:
        folder: a private folder.
        app: the name of the app's files.
        handler: the handler's name, for the report.
    """

    def __init__(self, folder: Path, app: str, handler: str) -> None:
        name = f"{app}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = folder / (name + SUFFIX)
        hidden = folder / (name + ".new")
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, RECORDS_BYTES)
        # Locked before it has its name, so that no starting process takes it for a dead one's.
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(self.path)
        os.lseek(self._file, RECORDS_BYTES, os.SEEK_SET)
        self._map = mmap.mmap(self._file, RECORDS_BYTES)
        self._free = deque(range(1, SLOTS))
        self._write(0, json.dumps({"pid": os.getpid(), "handler": handler}))

    def fileno(self) -> int:
        """Return the descriptor to which the watchdog writes the stack, behind the records."""
        return self._file

    def begin(self, kind: str, *fields: object) -> int:
        """See `Recorder.begin`; 0 if all slots are used."""
        try:
            slot = self._free.popleft()
        except IndexError:
            return 0
        self._write(slot, "\t".join((kind, repr(time.time()), *map(str, fields))))
        return slot

    def end(self, slot: int) -> None:
        """See `Recorder.end`."""
        if slot and not self._map.closed:
            self._map[slot * SLOT_BYTES] = 0
            self._free.append(slot)

    def close(self) -> None:
        """Remove the file, because the process has ended its work well."""
        if not self._map.closed:
            self.path.unlink(missing_ok=True)
            self._map.close()
            os.close(self._file)

    def _write(self, slot: int, text: str) -> None:
        if self._map.closed:
            return
        data = text.encode("utf-8", "replace")[: SLOT_BYTES - 1] + b"\0"
        start = slot * SLOT_BYTES
        self._map[start : start + len(data)] = data


def private_folder() -> Path:
    """Return the folder of the current user's files; create it if it is missing.

    Raises:
        OSError: the folder is not private.
    """
    folder = Path(tempfile.gettempdir()) / f"breakwater-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user that only the user can read")
    return folder


def app_name(identity: Identity) -> str:
    """Return the name of an app's files in the folder."""
    text = f"{identity.namespace}/{identity.hub}/{identity.consumer_group}/{identity.pipeline}"
    return hashlib.sha256(text.lower().encode()).hexdigest()[:12]
