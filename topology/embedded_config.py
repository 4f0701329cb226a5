"""The configuration of the embedded Kafka's nodes."""

import json
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

# The folder is ours alone, so every cluster may have the same id; a restart in a given folder needs it.
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"


class NodePorts(NamedTuple):
    """The ports of one node: for clients and other brokers, and for the quorum of controllers.

    A node with a second listener has it at ``back`` and tells clients that they reach it at ``front``: there
    whoever wants to stand between them and the node listens.
    """

    client: int
    controller: int
    back: int = 0
    front: int = 0


def free_ports(count: int) -> list[int]:
    """That many ports of the loopback interface on which nothing listens."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def choose_ports(nodes: int, remembered: Path, fronted: bool = False) -> list[NodePorts]:
    """Ports for each node: those of the last run in this folder where they are free, else new ones.

    If ``fronted``, each node has a second listener.
    """
    try:
        found = [NodePorts(*ports) for ports in json.loads(remembered.read_text())]
    except (OSError, ValueError, TypeError):
        found = []
    used = [port for ports in found for port in ports if port]
    width = 4 if fronted else 2
    if len(found) != nodes or len(used) != width * nodes or not all(map(_is_free, used)):
        numbers = free_ports(width * nodes)
        found = [NodePorts(*numbers[width * i : width * (i + 1)]) for i in range(nodes)]
        remembered.write_text(json.dumps(found))
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


LISTS = frozenset({"listeners", "advertised.listeners", "listener.security.protocol.map"})
"""Properties to which further ones add, so that the node can still be reached as before."""


def server_properties(node: int, ports: list[NodePorts], data: Path, more: Mapping[str, str] | None = None) -> str:
    """The ``server.properties`` of a node (numbered from 1) of the cluster whose ports are given.

    ``more`` stands above what is usual here, and is added to it where it says how the node is reached.
    """
    own = ports[node - 1]
    voters = ",".join(f"{i}@127.0.0.1:{p.controller}" for i, p in enumerate(ports, start=1))
    replicas = min(3, len(ports))
    back = f",FRONTED://127.0.0.1:{own.back}" if own.back else ""
    front = f",FRONTED://127.0.0.1:{own.front}" if own.back else ""
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://127.0.0.1:{own.client},CONTROLLER://127.0.0.1:{own.controller}{back}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{own.client}{front}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,FRONTED:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        # As the topics of three replicas are made.
        "transaction.state.log.min.isr": max(1, replicas - 1),
        "transaction.state.log.num.partitions": 8,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": 1,
        # A group of one has nobody to wait for, and tests may want a dead member noticed in a second.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.min.heartbeat.interval.ms": 300,
        "broker.session.timeout.ms": 6000,
        "broker.heartbeat.interval.ms": 1000,
        "controlled.shutdown.enable": "true",
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    for name, value in (more or {}).items():
        properties[name] = f"{properties[name]},{value}" if name in LISTS else value
    return "".join(f"{name}={value}\n" for name, value in properties.items())
