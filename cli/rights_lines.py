"""The rights that services and commands need, for people and as commands that grant them. Pure."""

import shlex
from collections.abc import Iterable

from topology.rights import Right, alike, grants

_OPTIONS = {"Topic": "--topic", "Group": "--group", "TransactionalId": "--transactional-id"}


def rights_rows(rights: Iterable[Right]) -> list[tuple[str, str, str]]:
    """Operations, on what, of which names."""
    return [
        (", ".join(one.operations), f"{one.resource}{' (prefixed)' if one.prefixed else ''}", ", ".join(one.names))
        for one in alike(rights)
    ]


def acl_commands(rights: Iterable[Right], principal: str, bootstrap_servers: str) -> list[str]:
    """Commands of Kafka's own tool, one for each thing, that grant the rights."""
    commands = []
    for one in grants(rights):
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap_servers, "--command-config", "admin.properties"]
        words += ["--add", "--allow-principal", principal]
        words += [word for operation in one.operations for word in ("--operation", operation)]
        words += [_OPTIONS[one.resource], one.names[0]]
        words += ["--resource-pattern-type", "prefixed" if one.prefixed else "literal"]
        commands.append(shlex.join(words))
    return commands
