"""How a command ends: done (0), a check says no (1), wrong use or setting (2).

CommandError          one line for a person: what, where, what to do
├── Refused    exit 1 the command understood and says no, or could not reach what it needs
└── WrongUse   exit 2 an argument, file or setting is wrong
"""

from confluent_kafka import KafkaError, KafkaException


class CommandError(Exception):
    """Ends the command with ``exit_code`` after printing the message, without a traceback."""

    exit_code = 1


class Refused(CommandError):
    """The command says no."""

    exit_code = 1


class WrongUse(CommandError):
    """What was given cannot be right."""

    exit_code = 2


_REACH = "is it running, and is the address right (--bootstrap-servers, BOOTSTRAP_SERVERS)?"
_ADVICE = {
    KafkaError._TRANSPORT: _REACH,
    KafkaError._ALL_BROKERS_DOWN: _REACH,
    KafkaError._TIMED_OUT: _REACH,
    KafkaError._RESOLVE: "is the address right (--bootstrap-servers, BOOTSTRAP_SERVERS)?",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topics first: automations topology apply",
    KafkaError._UNKNOWN_TOPIC: "create the topics first: automations topology apply",
    KafkaError._UNKNOWN_PARTITION: "create the topics first: automations topology apply",
}


def explain_kafka(error: KafkaException) -> str:
    """One line about an error of the Kafka client, with what to do about it where that is known."""
    reason = error.args[0] if error.args else error
    if not isinstance(reason, KafkaError):
        return f"Kafka: {reason}"
    advice = _ADVICE.get(reason.code(), "")
    return f"Kafka: {reason.str()}{': ' + advice if advice else ''}"
