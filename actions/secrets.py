"""Secrets by name, looked up at the moment of sending.

Law: a value leaves this file only as the return value of ``find``; no message, log or error holds one.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
MAX_BYTES = 65_536


class SecretStore:
    """Files ``<folder>/<tenant_slug>/<name>``, else ``<folder>/<name>``; else the environment.

    ``environment`` holds the values of ``SECRET_<NAME>`` by ``<NAME>``. Files are read afresh each time, so a
    secret that is rotated on disk is in use with the next attempt.
    """

    def __init__(self, folder: str | None, environment: Mapping[str, SecretStr]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._environment = environment

    def find(self, tenant_slug: str, name: str) -> str | None:
        """The value without space around it, or ``None`` if there is none, it is empty or can't be read."""
        if not _NAME.fullmatch(name):
            return None
        if self._folder is not None:
            folders = [self._folder]
            # A slug comes with a record: it must not lead out of the folder.
            if _NAME.fullmatch(tenant_slug):
                folders.insert(0, self._folder / tenant_slug)
            for folder in folders:
                value = _read(folder / name)
                if value:
                    return value
        kept = self._environment.get(environment_name(name))
        return None if kept is None else kept.get_secret_value().strip() or None


def environment_name(name: str) -> str:
    """``<NAME>`` of the variable ``SECRET_<NAME>``: ``slack.page-2`` -> ``SLACK_PAGE_2``."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def _read(path: Path) -> str | None:
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
