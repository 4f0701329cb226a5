"""A backtest of the workload's automations: ``python -m bench.replay SEED``, settings from the environment.

Prints one JSON object: what it used from the first record to the last, and the ids of the events decided.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from time import perf_counter

from bench import workload
from cli.backtest_draft import DraftReplay, in_force_from
from cli.past import Past
from topology.names import FLOW_RUN_STATE
from topology.settings import Settings


def main(seed: int) -> None:
    """Replays the input once."""
    settings = Settings.from_env(os.environ)
    with Past(settings, [FLOW_RUN_STATE], lambda _: None) as past:
        replay = DraftReplay(past, in_force_from(workload.control_records(seed), past.first_ms))
        began_s, began_cpu_s = perf_counter(), _cpu_s()
        ids = [event.id for event in replay]
        found = {
            "records": replay.told.records,
            "seconds": perf_counter() - began_s,
            "cpu_seconds": _cpu_s() - began_cpu_s,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    print(json.dumps({"usage": found, "ids": ids}))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]))
