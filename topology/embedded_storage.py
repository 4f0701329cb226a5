"""Formatted storage for the embedded Kafka's nodes.

``kafka.tools.StorageTool format`` runs once and its result is kept beside the jars. What it writes, the
levels of a cluster's features, is the same for each; a Java process for every node would cost seconds.
"""

import shutil
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

from topology import kafka_jars
from topology.embedded_config import CLUSTER_ID, choose_ports, server_properties
from topology.java import JavaProcess, java_command

_CHECKPOINT = "bootstrap.checkpoint"
_TIMEOUT_S = 60


class FormatFailed(Exception):
    """Kafka's own tool couldn't format a folder; the message holds what it said."""


def format_storage(node: int, data: Path, classpath: str) -> None:
    """Make a node's data folder one that Kafka takes; one with data stays as it is.

    Raises ``FormatFailed``.
    """
    if (data / "meta.properties").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_formatted(classpath), data / _CHECKPOINT)
    directory = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
    (data / "meta.properties").write_text(
        f"version=1\ncluster.id={CLUSTER_ID}\nnode.id={node}\ndirectory.id={directory}\n"
    )


def _formatted(classpath: str) -> Path:
    """The checkpoint that the tool writes for a new cluster, made when it isn't there yet."""
    kept = kafka_jars.folder_of(kafka_jars.BROKER) / _CHECKPOINT
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="flow-automations-format-") as name:
            made = _run_tool(Path(name), classpath)
            draft = kept.with_name(f"{kept.name}.{uuid4().hex}")
            shutil.copyfile(made, draft)
            draft.replace(kept)
    return kept


def _run_tool(home: Path, classpath: str) -> Path:
    ports = choose_ports(1, remembered=home / "ports.json")
    properties = home / "server.properties"
    properties.write_text(server_properties(1, ports, home / "data"))
    arguments = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
    process = JavaProcess(java_command(classpath, "128m", arguments), home / "format.log", home)
    ended = process.wait(_TIMEOUT_S)
    made = home / "data" / _CHECKPOINT
    if not ended or process.exit_code != 0 or not made.exists():
        process.kill()
        said = " ".join((home / "format.log").read_text(errors="replace").split())[-300:]
        raise FormatFailed(f"Kafka can't format its storage: {said or 'it said nothing'}")
    return made
