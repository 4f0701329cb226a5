"""Explanations of a history, as the command would give them long afterwards, beside what the consumer fired."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from consumer.app import ConsumerApp
from consumer.explain_agents import ConfigExplained, explain_agents
from consumer.explain_runs import Input, explain_runs
from consumer.explanation import RunExplained
from consumer.restored_records import kept_of, restored
from consumer.run_state import tenant_of
from schemas.codec import Codec
from streams.partition import Unread
from streams.position import POSITION_KEY, decode
from streams.testing import Driver
from tests.oracle.oracle import History, Rules
from tests.scenarios.world import append, appends, driver_for, events_of
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.partitioner import murmur2_partition


def driven(history: History, rules: Rules) -> Driver:
    """The driver after the consumer has read it all, long after it was appended."""
    driver = driver_for(history, rules)
    if history.first_start_ms is not None:
        driver.clock_ms = history.first_start_ms
        driver.start()
    for record in appends(history):
        append(driver, record)
    driver.clock_ms = max(driver.clock_ms, history.end_ms)
    process = driver.start()
    process.poll()
    process.commit()
    return driver


def app_of(driver: Driver) -> ConsumerApp:
    """The control table, whole."""
    app = driver.make_app()
    assert isinstance(app, ConsumerApp)
    for record in driver.control.records:
        app.control(record)
    return app


def explained(driver: Driver) -> dict[tuple[str, str], RunExplained]:
    """Every run's explanation, by tenant and run id: from the log, and from state for what the log has lost."""
    found = {}
    for (topic, partition), log in driver.logs.items():
        if topic != FLOW_RUN_STATE:
            continue
        position = decode(log.changelog[POSITION_KEY])
        by_key: dict[bytes, list[Unread]] = defaultdict(list)
        for record in log.records:
            assert record.key is not None
            by_key[record.key].append(record)
        kept = [key for key in log.changelog if key != POSITION_KEY]
        names = [key.partition(b":")[2].decode().removeprefix(tenant_of(key)) for key in kept]
        for run_id in {*names, *(key.decode() for key in by_key)}:
            records = by_key[run_id.encode()]
            finished = app_of(driver).options.finished_states
            made = restored(kept_of(log.changelog, run_id), records, Codec(), finished)
            given = Input([*made, *records], position, partition, driver.inputs[topic])
            for run in explain_runs(app_of(driver), given).runs:
                found[run.tenant_id, run_id] = run
    return found


def explained_configs(driver: Driver) -> dict[tuple[str, str], ConfigExplained]:
    """Every agent config's explanation, by tenant and config id, also of those that no agent was ever heard of."""
    found = {}
    app = app_of(driver)
    partitions = driver.inputs[AGENT_HEARTBEAT]
    ids = {config_id for _, config_id in app.automations.agent_configs()}
    for (topic, _), log in driver.logs.items():
        if topic == AGENT_HEARTBEAT:
            ids |= {(record.key or b"").decode() for record in log.records}
    for config_id in ids:
        partition = murmur2_partition(config_id.encode(), partitions)
        log = driver.logs[AGENT_HEARTBEAT, partition]
        records = [record for record in log.records if record.key == config_id.encode()]
        given = Input(records, decode(log.changelog[POSITION_KEY]), partition, partitions)
        for config in explain_agents(app_of(driver), config_id, given):
            found[config.tenant_id, config_id] = config
    return found


def fired_by_config(driver: Driver) -> dict[tuple[str, str], list[str]]:
    """Ids of the events of agents that the consumer fired, by tenant and config id."""
    fired: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event in events_of(driver):
        if event["agent_config_id"] is not None:
            fired[event["tenant_id"], event["agent_config_id"]].append(event["id"])
    return fired


def fired_by_run(driver: Driver) -> dict[tuple[str, str], list[str]]:
    """Ids of the events of runs that the consumer fired, by tenant and run id."""
    fired: dict[tuple[str, str], list[str]] = defaultdict(list)
    event: dict[str, Any]
    for event in events_of(driver):
        if event["flow_run_id"] is not None:
            fired[event["tenant_id"], event["flow_run_id"]].append(event["id"])
    return fired
