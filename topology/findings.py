"""What is wrong with a topic as it is found, compared with what it is to be. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from topology.names import AUTOMATIONS, INPUTS, variable
from topology.settings import Settings
from topology.topics import FOREVER_MS, TopicSpec

_AT_LEAST = frozenset({"retention.ms", "min.compaction.lag.ms", "delete.retention.ms"})


class TopicFound(NamedTuple):
    """A topic as it is: its partition count, the smallest replica count of any, and its configuration."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


class Finding(NamedTuple):
    """Something that is not as it is to be.

    ``line`` says what, and the remedy. ``mend`` is the configuration, by name, that would put it right; empty
    where nothing but a person can.
    """

    topic: str
    line: str
    mend: Mapping[str, str] = {}


def findings(settings: Settings, spec: TopicSpec, found: Mapping[str, TopicFound]) -> list[Finding]:
    """What is wrong with one topic, given all the topics found, by full name."""
    topic = found.get(spec.name)
    if topic is None:
        return [Finding(spec.name, f"{spec.name} is missing: run `automations topology apply`")]
    return [
        *_partitions(spec, topic, found),
        *_replication(spec, topic),
        *_config(settings, spec, topic, found),
    ]


def _partitions(spec: TopicSpec, topic: TopicFound, found: Mapping[str, TopicFound]) -> list[Finding]:
    twin = found.get(spec.co_partitioned_with or "")
    if twin is not None:
        if topic.partitions == twin.partitions:
            return []
        line = (
            f"{spec.name} has {topic.partitions} partitions, but its input {twin.name} has "
            f"{twin.partitions}: an input's partition count is fixed for life; go back to an input with "
            f"{topic.partitions}, or start anew with another CONSUMER_GROUP"
        )
        return [Finding(spec.name, line)]
    if spec.co_partitioned_with is not None or topic.partitions == spec.partitions:
        return []
    setting = variable(spec.base, "PARTITIONS")
    if spec.base == AUTOMATIONS:
        remedy = "it must have exactly 1: export the automations, delete the topic, apply both again"
    elif spec.fixed:
        remedy = f"an input's partition count is fixed for life: set {setting}={topic.partitions}"
    else:
        remedy = (
            f"set {setting}={topic.partitions}, or change the topic yourself (more partitions move keys to "
            "others, and a subject's records lose their order while old ones are still read)"
        )
    return [Finding(spec.name, f"{spec.name} has {topic.partitions} partitions, not {spec.partitions}: {remedy}")]


def _replication(spec: TopicSpec, topic: TopicFound) -> list[Finding]:
    if topic.replication >= spec.replication:
        return []
    line = (
        f"{spec.name} has {topic.replication} replica{'s' if topic.replication > 1 else ''}, not "
        f"{spec.replication}: a lost broker loses records; move it with kafka-reassign-partitions, "
        f"or set REPLICATION={topic.replication}"
    )
    return [Finding(spec.name, line)]


def _config(settings: Settings, spec: TopicSpec, topic: TopicFound, found: Mapping[str, TopicFound]) -> list[Finding]:
    wrong = []
    for name in sorted(spec.required):
        is_now = topic.config.get(name, "")
        wanted = spec.config[name]
        if spec.base == AUTOMATIONS and name in _AT_LEAST:
            wanted = str(_longest_kept(settings, int(wanted), found))
        if _suffices(name, is_now, wanted):
            continue
        line = (
            f"{spec.name} has {name}={is_now}, not {_more(name)}{wanted}: {_why(spec, name)}; "
            "run `automations topology apply`"
        )
        wrong.append(Finding(spec.name, line, {name: wanted}))
    return wrong


def _suffices(name: str, is_now: str, wanted: str) -> bool:
    if name not in _AT_LEAST:
        return is_now.replace(" ", "") == wanted
    if not is_now.lstrip("-").isdigit():
        return False
    return _lasting(int(is_now)) >= _lasting(int(wanted))


def _lasting(milliseconds: int) -> int:
    """A time to keep, comparable: -1 is for ever."""
    return FOREVER_MS if milliseconds < 0 else milliseconds


def _longest_kept(settings: Settings, wanted: int, found: Mapping[str, TopicFound]) -> int:
    """As long as any input keeps its records, by its settings and as it is now."""
    kept = [wanted]
    for base in INPUTS:
        topic = found.get(settings.topic(base))
        if topic is not None and topic.config.get("retention.ms", "").lstrip("-").isdigit():
            kept.append(_lasting(int(topic.config["retention.ms"])))
    return max(kept)


def _more(name: str) -> str:
    return "at least " if name in _AT_LEAST else ""


def _why(spec: TopicSpec, name: str) -> str:
    """Why it matters, in half a sentence."""
    if name == "message.timestamp.type":
        return "deadlines are judged by the brokers' append time"
    if name == "cleanup.policy":
        if spec.config[name] == "compact":
            return "the latest record of each key is kept for good"
        return "every record counts, not the latest of each key only"
    if spec.base == AUTOMATIONS:
        return "automations are judged as they were when the inputs' records were appended"
    return f"{variable(spec.base, 'RETENTION_MS')} promises that long"
