"""What is possible at most on this machine: a process that only consumes the workload, or decodes it too.

``python -m bench.limits consume|decode``, settings from the environment. Prints one JSON object: records, and
seconds and CPU seconds from the first record to the last.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from time import perf_counter

from confluent_kafka import Consumer

from bench.topics import assignment
from schemas.codec import Codec
from schemas.records import FlowRunState
from streams.clients import table_reader
from streams.loop import BATCH
from topology.settings import Settings


def main(decodes: bool) -> None:
    """Reads the input once, with the loop's own client configuration."""
    settings = Settings.from_env(os.environ)
    decode = Codec().decode_state
    partitions = assignment(settings)
    total = sum(end - partition.offset for partition, end in partitions.items())
    consumer = Consumer({**table_reader(settings), "enable.partition.eof": False})
    consumer.assign(list(partitions))
    messages = consumer.consume(BATCH, 10)
    began_s, began_cpu_s = perf_counter(), _cpu_s()
    count = 0
    while True:
        count += len(messages)
        if decodes:
            for message in messages:
                assert type(decode(message.value())) is FlowRunState
        if count >= total:
            break
        messages = consumer.consume(BATCH, 0.01)
    found = {
        "records": count,
        "seconds": perf_counter() - began_s,
        "cpu_seconds": _cpu_s() - began_cpu_s,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    consumer.close()
    print(json.dumps(found))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1] == "decode")
