"""Secrets by name, looked up at the moment of sending.

Law: a value leaves this file only as a return value of ``find`` and its kin; no message, log, error or representation
holds one.
"""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
MAX_BYTES = 65_536
MAX_KEPT = 4_096
SETTLED_NS = 2_000_000_000


class _Kept(NamedTuple):
    """What a file held when it had this identity. The identity is of the file itself, links followed."""

    identity: tuple[int, ...]
    value: SecretStr | None


class SecretStore:
    """Files ``<folder>/<tenant_slug>/<name>``, else ``<folder>/<name>``; else the environment.

    ``environment`` holds the values of ``SECRET_<NAME>`` by ``<NAME>``. A file is looked at each time and read
    when it is another one or was changed, so a secret that is rotated on disk is in use with the next attempt;
    for ``settled_ns`` nanoseconds after a change it is read each time.
    """

    def __init__(self, folder: str | None, environment: Mapping[str, SecretStr], settled_ns: int = SETTLED_NS) -> None:
        self._folder = None if folder is None else Path(folder)
        self._environment = environment
        self._settled_ns = settled_ns
        self._kept: dict[str, _Kept] = {}

    def find(self, tenant_slug: str, name: str) -> str | None:
        """The value without space around it, or ``None`` if there is none, it is empty or can't be read."""
        return self.find_own(tenant_slug, name) or self.find_operators(name)

    def find_own(self, tenant_slug: str, name: str) -> str | None:
        """As ``find``, of the tenant's own folder alone."""
        # A slug comes with a record: it must not lead out of the folder.
        if self._folder is None or not _NAME.fullmatch(tenant_slug) or not _NAME.fullmatch(name):
            return None
        return self._held(f"{self._folder}/{tenant_slug}/{name}") or None

    def find_operators(self, name: str) -> str | None:
        """As ``find``, of those secrets that belong to no tenant."""
        if not _NAME.fullmatch(name):
            return None
        if self._folder is not None:
            value = self._held(f"{self._folder}/{name}")
            if value:
                return value
        kept = self._environment.get(environment_name(name))
        return None if kept is None else kept.get_secret_value().strip() or None

    def _held(self, path: str) -> str | None:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            self._kept.pop(path, None)
            return None
        # The change time tells of writes that leave the size and put the modification time back. Its steps are
        # coarse: a file that has just been changed may be changed again without a trace.
        settled = time.time_ns() - found.st_ctime_ns > self._settled_ns
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        kept = self._kept.get(path)
        if kept is None or kept.identity != identity or not settled:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            value = self.read(path)
            kept = self._kept[path] = _Kept(identity, None if value is None else SecretStr(value))
        return None if kept.value is None else kept.value.get_secret_value()

    def read(self, path: str) -> str | None:
        """What a file holds, or ``None`` if that is no text or can't be read."""
        try:
            # A pipe or device in its place must not hold up the runner.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(descriptor, MAX_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError):
            return None
        finally:
            os.close(descriptor)


def environment_name(name: str) -> str:
    """``<NAME>`` of the variable ``SECRET_<NAME>``: ``slack.page-2`` -> ``SLACK_PAGE_2``."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
