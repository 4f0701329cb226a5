"""``KAFKA_CONFIG_<NAME>``: any librdkafka setting, but for those that would break what we promise."""

from collections.abc import Mapping

from topology.setting_errors import SettingError

_PREFIX = "KAFKA_CONFIG_"

_UNDERSCORED = frozenset({"ssl_ca", "ssl_certificate", "ssl_key", "ssl_engine_callback_data"})
"""The few librdkafka names that have underscores of their own."""

_EXACTLY_ONCE = "events are exactly once only with it as it is"
_OFFSETS = "offsets are committed in the transaction that holds what they led to"
_TRANSACTION_TIME = "TRANSACTION_TIMEOUT_MS sets it: records arrive before their transaction ends"
_TRANSACTIONAL = "transactions need it as it is"

REFUSED: Mapping[str, str] = {
    "acks": f"{_TRANSACTIONAL} (all)",
    "allow.auto.create.topics": "topics are made by `automations topology apply`",
    "api.version.request": _TRANSACTIONAL,
    "auto.commit.enable": _OFFSETS,
    "auto.commit.interval.ms": _OFFSETS,
    "auto.offset.reset": "a committed offset outside the log has to stop the process, not to be skipped over",
    "bootstrap.servers": "BOOTSTRAP_SERVERS sets it",
    "broker.version.fallback": _TRANSACTIONAL,
    "builtin.features": "it can't be set",
    "check.crcs": "a record damaged on its way would be believed",
    "client.id": "each process names its clients itself, uniquely, or a cooperative rebalance never ends",
    "delivery.timeout.ms": _TRANSACTION_TIME,
    "enable.auto.commit": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "enable.gapless.guarantee": _TRANSACTIONAL,
    "enable.idempotence": f"{_TRANSACTIONAL} (true)",
    "enable.partition.eof": "the ends of partitions are how progress is known",
    "group.id": "CONSUMER_GROUP and ACTIONS_GROUP set it",
    "group.instance.id": "INSTANCE_ID sets it",
    "group.protocol": "membership is fenced by the classic protocol's generations",
    "group.remote.assignor": "partitions are handed over cooperatively",
    "isolation.level": f"{_EXACTLY_ONCE} (read_committed): aborted records would be taken for real",
    "max.in.flight": _TRANSACTIONAL,
    "max.in.flight.requests.per.connection": _TRANSACTIONAL,
    "max.poll.interval.ms": "the loop's watchdogs are set to it",
    "message.send.max.retries": _TRANSACTIONAL,
    "message.timeout.ms": _TRANSACTION_TIME,
    "metadata.broker.list": "BOOTSTRAP_SERVERS sets it",
    "offset.store.method": _OFFSETS,
    "offset.store.path": _OFFSETS,
    "offset.store.sync.interval.ms": _OFFSETS,
    "partition.assignment.strategy": "all members hand partitions over in the same way (cooperative-sticky)",
    "partitioner": "PARTITIONER sets it, for all producers and the check of where a record was found",
    "plugin.library.paths": "a plug-in can change any of this",
    "queuing.strategy": "records have to keep their order",
    "request.required.acks": f"{_TRANSACTIONAL} (all)",
    "retries": _TRANSACTIONAL,
    "session.timeout.ms": "SESSION_TIMEOUT_MS sets it",
    "socket.timeout.ms": "a small one makes transactions hang, a large one TRANSACTION_TIMEOUT_MS refuses",
    "transaction.timeout.ms": "TRANSACTION_TIMEOUT_MS sets it",
    "transactional.id": "it fences off a predecessor, so each process takes its own",
    "test.mock.broker.rtt": "it replaces Kafka by a mock",
    "test.mock.num.brokers": "it replaces Kafka by a mock",
}
"""What can't be set, and why."""

_REFUSED_ENDINGS = ("_cb", ".cb", "_callback", ".callback")


def kafka_config_from(env: Mapping[str, str]) -> dict[str, str]:
    """The librdkafka settings that an environment gives. Raises ``SettingError`` for one that is refused."""
    config = {}
    for variable, value in sorted(env.items()):
        if not variable.startswith(_PREFIX) or not value.strip():
            continue
        name = setting_name(variable.removeprefix(_PREFIX))
        reason = refusal(name)
        if reason is not None:
            raise SettingError(f"{variable} ({name}) can't be set: {reason}; remove it")
        config[name] = value.strip()
    return config


def setting_name(name: str) -> str:
    """librdkafka's name for what follows ``KAFKA_CONFIG_``: ``SASL_MECHANISM`` -> ``sasl.mechanism``."""
    lowered = name.lower()
    return lowered if lowered in _UNDERSCORED else lowered.replace("_", ".")


def refusal(name: str) -> str | None:
    """Why a librdkafka setting can't be set; None when it can."""
    if name.endswith(_REFUSED_ENDINGS):
        return "it takes a function, which an environment can't hold"
    return REFUSED.get(name)
