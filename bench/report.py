"""Figures as a table for people and as JSON to keep: what was measured, on what."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import confluent_kafka

from bench.process import Usage
from topology.kafka_jars import KAFKA_VERSION

RESULTS = Path(__file__).resolve().parent / "results"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, median and greatest."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def figures(rounds: Mapping[str, Sequence[Usage]], reference: str) -> dict[str, Any]:
    """Each contender's figures over its rounds, and the ratio of its median to that of ``reference``."""
    per_cpu_s = {
        name: spread([usage.records / usage.cpu_seconds for usage in usages]) for name, usages in rounds.items()
    }
    return {
        name: {
            "rounds": len(usages),
            "records_per_second": spread([usage.records / usage.seconds for usage in usages]),
            "records_per_cpu_second": per_cpu_s[name],
            "peak_rss_mb": spread([usage.peak_rss_mb for usage in usages]),
            "ratio": per_cpu_s[name]["median"] / per_cpu_s[reference]["median"],
        }
        for name, usages in rounds.items()
    }


def table(found: Mapping[str, Any], reference: str, what: str = "k records", unit: int = 1000) -> str:
    """The figures as lines, min / median / max, in ``unit`` records, which are called ``what``."""
    head = (f"{'':18}", f"{what}/s", f"{what} per CPU-s", "peak RSS, MB", f"CPU ratio to {reference!r}")
    lines = [f"{head[0]}{head[1]:>24}{head[2]:>24}{head[3]:>20}   {head[4]}"]
    for name, one in found.items():
        cells = [
            _cell(one["records_per_second"], unit, 24),
            _cell(one["records_per_cpu_second"], unit, 24),
            _cell(one["peak_rss_mb"], 1, 20),
        ]
        lines.append(f"{name:18}{''.join(cells)}   {one['ratio']:.2f}")
    return "\n".join(lines)


def _cell(values: Mapping[str, float], unit: float, width: int) -> str:
    text = " / ".join(f"{values[name] / unit:.0f}" for name in ("min", "median", "max"))
    return f"{text:>{width}}"


def save(name: str, content: Mapping[str, Any]) -> Path:
    """Writes the results with machine and versions under today's date; the file."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{name}-{now:%Y-%m-%d}.json"
    whole = {"measured": f"{now:%Y-%m-%dT%H:%M:%SZ}", "machine": machine(), "versions": versions(), **content}
    path.write_text(json.dumps(whole, indent=2) + "\n")
    return path


def machine() -> dict[str, Any]:
    """What it ran on, without names."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    return {
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "librdkafka": confluent_kafka.libversion()[0],
        **{name: version(name) for name in ("flow-automations", "confluent-kafka", "fastavro")},
    }


def _first(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
