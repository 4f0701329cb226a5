"""Temporary folders that are removed even when their owner was killed.

A folder's owner holds a lock on a file beside its data. A process that dies lets go of the lock, so the next
start can tell the folders that nobody owns, and removes them.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "flow-automations-kafka-"


class TempFolder:
    """A new folder under the system's temporary one, owned by this process until ``remove``."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path / "owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep() -> list[Path]:
    """Remove the folders whose owners are dead; returns them."""
    swept = []
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            # Another user's, or one that is being made right now.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            swept.append(folder)
        finally:
            os.close(lock)
    return swept
