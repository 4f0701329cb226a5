"""``CancelFlowRunAction``, ``PauseScheduleAction`` and ``CreateFlowRunAction``, on the Prefect of the settings.

Laws: an action whose aim is reached already is done and says so; an attempt that is repeated does nothing twice.
"""

from collections.abc import Callable

from actions.channels import prefect1, prefect3
from actions.channels.channel import Channel, Config, Job, Services
from actions.channels.prefect_call import destination_of
from actions.exchange import Exchange
from schemas.records import AutomationEvent


def secret_names(_: Config, services: Services) -> tuple[str, ...]:
    """The operator's key for the API, where there is one."""
    return () if services.prefect_api_key_secret is None else (services.prefect_api_key_secret,)


def destination(_: AutomationEvent, __: Config, services: Services) -> str:
    """The API's host and port: all of its actions share its limits."""
    return destination_of(services.prefect_api_url)


def _channel(old: Callable[[Job], Exchange], new: Callable[[Job], Exchange]) -> Channel:
    def exchange(job: Job) -> Exchange:
        return (old if job.services.prefect_backend == "prefect1" else new)(job)

    return Channel(secret_names, destination, exchange)


CANCEL = _channel(prefect1.cancel, prefect3.cancel)
PAUSE = _channel(prefect1.pause, prefect3.pause)
CREATE = _channel(prefect1.create, prefect3.create)
