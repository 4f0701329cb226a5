"""Kafka's own Java console clients, for seeing through another client's eyes what is on the topics."""

import subprocess
from collections.abc import Sequence

from topology import kafka_jars
from topology.java import die_with_parent, java_command

CONSOLE_PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSOLE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"


class ToolFailed(Exception):
    """A Java tool ended with another exit code than 0; the message holds the beginning of what it said."""


def run_tool(
    main_class: str,
    args: Sequence[str],
    stdin: str | None = None,
    timeout_s: float = 120,
    say: kafka_jars.Say = print,
) -> str:
    """Run a main class of ``org.apache.kafka:kafka-tools`` to its end; returns what it wrote to stdout.

    Raises ``ToolFailed`` for an exit code other than 0 or no end within ``timeout_s`` seconds, and
    ``JarsUnavailable`` when the jars can't be fetched.
    """
    command = java_command(kafka_jars.classpath(kafka_jars.TOOLS, say), "256m", [main_class, *args])
    try:
        done = subprocess.run(  # noqa: S603 - our own Java with our own arguments
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            check=False,
            preexec_fn=die_with_parent(),
        )
    except subprocess.TimeoutExpired:
        raise ToolFailed(f"{main_class} didn't end within {timeout_s} s") from None
    if done.returncode != 0:
        # The cause stands first; what follows is a usage text or a stack trace.
        said = (done.stderr or done.stdout).strip()[:500]
        raise ToolFailed(f"{main_class} ended with exit code {done.returncode}: {said}")
    return done.stdout
