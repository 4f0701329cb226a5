"""The explanation of an agent config as lines for a person who was woken up. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cli.explain_lines import Line, event_lines
from cli.explain_words import Clock, span_text
from cli.explained import ConfigFound
from cli.tail_lines import one_line, time_text
from consumer import explain_agents as why
from consumer.automations import CONFIG_MISSING, DELETED, DISABLED, NOT_MADE_YET
from consumer.explain_agents import AgentAutomation, AgentSeen, ConfigExplained, FallNote

SILENCES_SHOWN = 5
FALLS_SHOWN = 10


def config_lines(found: ConfigFound) -> Iterator[Line]:
    """The explanation of a config, one for each tenant that uses its id."""
    for config in found.configs:
        yield from _Story(found, config).lines()


class _Story:
    """One tenant's config."""

    def __init__(self, found: ConfigFound, config: ConfigExplained) -> None:
        self._found = found
        self._config = config
        self._progress_ms = -1 if found.position is None else found.position.progress_ms
        self._clock = Clock(max(0, self._progress_ms))

    def lines(self) -> Iterator[Line]:
        """All of it."""
        config, found = self._config, self._found
        yield [
            ("agent config", "quiet"), (one_line(found.config_id), "title"),
            (one_line(f"of tenant {config.tenant_slug or config.tenant_id}"), ""),
        ]  # fmt: skip
        fired = sum(fall.event_id is not None for one in config.automations for fall in one.falls)
        watching = len(config.automations)
        on_it = f"{watching} automation{'' if watching == 1 else 's'} on it"
        yield [(f"{fired} fired, {on_it}", "bad" if fired else "good")]
        if found.position is None:
            yield [(f"consumer group {found.group} has never read its partition: nothing is judged", "bad")]
        else:
            yield [(f"judged by {found.group} up to {time_text(max(0, self._progress_ms))}", "quiet")]
        yield [(f"times are UTC, of {self._clock.day} where no date is given", "quiet")]
        if found.span.cut and found.span.first_ms is not None:
            yield [(f"nothing is told of before {time_text(found.span.first_ms)}: read from there on", "note")]
        yield [("", "")]
        yield [("AUTOMATIONS", "title")]
        for automation in config.automations:
            yield from self._automation(automation)
        if not config.automations:
            yield [("  none has ever been on this config", "note")]
        yield [("", "")]
        yield [(f"AGENTS in {found.span.topic}[{found.span.partition}]", "title")]
        for agent in config.agents:
            yield from self._agent(agent)
        if not config.agents:
            yield [("  no heartbeat of this config", "note")]
        if config.unread:
            yield [(f"  {config.unread} heartbeats are not read by the consumer yet", "note")]
        if config.rejected:
            yield [(f"  {len(config.rejected)} dead-lettered, the last: {one_line(config.rejected[-1])}", "bad")]

    def _automation(self, one: AgentAutomation) -> Iterator[Line]:
        sla = one.condition
        asks = ""
        if sla is not None:
            asks = f"(at least {sla.min_healthy} healthy, each within {span_text(sla.unhealthy_after_ms)})"
        yield [(f"  {one_line(one.automation_name or one.automation_id)}", "title"), (asks, "quiet")]
        if len(one.falls) > FALLS_SHOWN:
            yield [(f"    {len(one.falls) - FALLS_SHOWN} earlier falls, see --json", "quiet")]
        for fall in one.falls[-FALLS_SHOWN:]:
            yield self._fall(fall)
            if fall.event_id is not None:
                yield from event_lines(self._clock, fall.event_id, self._found.events.get(fall.event_id))
        yield [(f"    now: {self._stands(one)}", "")]

    def _fall(self, fall: FallNote) -> Line:
        clock, grace = self._clock, span_text(self._found.timing.grace_ms)
        healthy = one_line(", ".join(fall.healthy)) or "none"
        silent = one_line(", ".join(fall.unhealthy))
        who = f"healthy: {healthy}" + (f"; silent: {silent}" if silent else "")
        what, style = {
            why.FIRED: ("FIRED", "bad"),
            why.RESTORED_IN_GRACE: (f"not fired: a heartbeat came within the grace of {grace}", "good"),
            why.WAITS_FOR_GRACE: (f"not judged yet: fires after {grace} of grace unless a heartbeat comes", "note"),
            why.NOT_IN_FORCE: ("not fired: it was not in force then", ""),
        }[fall.reason]
        parts = [
            (f"    {clock.text(fall.fall_ms)}", "quiet"),
            ("too few are healthy:", ""),
            (what, style),
            (f"({who})", ""),
        ]
        if fall.restored_ms is not None:
            parts.append((f"restored at {clock.text(fall.restored_ms)} by {one_line(fall.restored_by or '')}", "good"))
        return parts

    def _stands(self, one: AgentAutomation) -> str:
        clock, at = self._clock, "" if one.at_ms is None else self._clock.text(one.at_ms)
        since = "" if one.since_ms is None else f" since {clock.text(one.since_ms)}"
        until = "" if one.until_ms is None else f" until {clock.text(one.until_ms)}"
        return {
            why.ENOUGH: f"enough are healthy; without another heartbeat that ends at {at}",
            why.FALLEN: f"too few since {at}; it fires again only after a heartbeat has restored the number",
            why.NOT_YET: f"in force{since}, judged from {at} on",
            why.NOT_IN_FORCE: "not in force on this config",
            DISABLED: f"disabled{since}{until}",
            DELETED: f"deleted{since}{until}",
            NOT_MADE_YET: f"not made yet{until}",
            CONFIG_MISSING: f"its agent config is missing{since}{until}: the automation is not in force",
        }.get(one.reason, one.reason)

    def _agent(self, agent: AgentSeen) -> Iterator[Line]:
        clock = self._clock
        name = agent.agent_id if agent.agent_name is None else f"{agent.agent_name} ({agent.agent_id})"
        count = f"{agent.heartbeats} heartbeat{'' if agent.heartbeats == 1 else 's'}"
        ago = f", {span_text(self._progress_ms - agent.last_ms)} before that" if self._progress_ms >= 0 else ""
        parts = [
            (f"  {one_line(name)}", "title"),
            (f"{count}, {clock.text(agent.first_ms)} to {clock.text(agent.last_ms)}{ago}", ""),
        ]
        if agent.stopped:
            parts.append(("STOPPED: it left on purpose", "note"))
        if agent.repeats:
            parts.append((f"{agent.repeats} sent twice, which change nothing", "quiet"))
        yield parts
        for silence in agent.silences[-SILENCES_SHOWN:]:
            length = span_text(silence.to_ms - silence.from_ms)
            yield [(f"    silent for {length}, {clock.text(silence.from_ms)} to {clock.text(silence.to_ms)}", "note")]
        if len(agent.silences) > SILENCES_SHOWN:
            yield [(f"    and {len(agent.silences) - SILENCES_SHOWN} silences before, see --json", "quiet")]
