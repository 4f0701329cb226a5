"""The console command ``automations``: every command in one place, and how each way of failing is told."""

import sys

import typer
from confluent_kafka import KafkaException

from cli.commands import apply, backtest, demo, dlq, explain, services, simulate, tail, test_action, topology
from cli.errors import CommandError, explain_kafka
from cli.screen import Screen
from schemas.codec import RegistryError
from streams.control_writer import ControlWriteError
from streams.errors import StateError
from streams.history import HistoryLost
from streams.topic_reader import ReadTimeout
from topology.access import AccessDenied, is_denial
from topology.cluster import TopologyError
from topology.embedded import EmbeddedKafkaError
from topology.setting_errors import SettingError

app = typer.Typer(
    name="automations",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Automations for workflow runs on Kafka: no alert false, none missed, none twice.\n\n"
        "First steps:\n\n"
        "    automations demo                       all of it on a Kafka that it brings, for 45 s\n\n"
        "    export BOOTSTRAP_SERVERS=localhost:9092\n\n"
        "    automations topology apply             creates the topics\n\n"
        "    automations apply -f automations.yaml  puts your automations into force\n\n"
        "    automations consumer                   decides (in one terminal)\n\n"
        "    automations actions                    notifies (in another)\n\n"
        "    automations events tail                what has fired, live\n\n"
        "Settings come from the environment. Exit codes: 0 done, 1 a check says no, 2 wrong use or setting."
    ),
)
demo.register(app)
topology.register(app)
services.register(app)
apply.register(app)
backtest.register(app)
tail.register(app)
dlq.register(app)
explain.register(app)
test_action.register(app)
simulate.register(app)


def main() -> None:
    """Run the command line; ends the process with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors become one line on stderr."""
    screen = Screen()
    try:
        app(args=arguments, prog_name="automations", standalone_mode=True)
    except CommandError as error:
        return _told(screen, error, error.exit_code)
    except (SettingError, StateError) as error:
        return _told(screen, error, 2)
    except (ControlWriteError, EmbeddedKafkaError, HistoryLost, ReadTimeout, RegistryError, TopologyError) as error:
        return _told(screen, error, 1)
    except KafkaException as error:
        if is_denial(error.args[0]):
            return _told(screen, AccessDenied.told(error.args[0]), 2)
        return _told(screen, explain_kafka(error), 1)
    except KeyboardInterrupt:
        screen.error("stopped", "quiet")
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _told(screen: Screen, problem: object, exit_code: int) -> int:
    for line in str(problem).splitlines():
        screen.error(f"error: {line}")
    return exit_code
