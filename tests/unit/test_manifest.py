"""Automations as YAML: what is written applies, mistakes point at their line, exports load again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Action, AgentConfig, Automation, ControlRecord, FlowSLAConfig
from schemas.ids import named_record_id
from schemas.manifest import Manifest, Problem, UnresolvedFlows, dump, load

TEXT = """\
tenant: {id: 6f2a, slug: acme}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: SLACK}}
agent_configs: [{name: prod}]
automations:
  - name: etl late
    enabled: true
    when: {event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 3600, flow_group_ids: [0b9c]}
    then: [page]
  - name: failures
    when: {event: FlowRunStateChangedEvent, states: [Failed, TimedOut]}
    then: [page]
  - name: agents
    when: {event: AgentSLAFailedEvent, agent_config: prod, sla_min_healthy: 1, unhealthy_after_seconds: 300}
    then: [page]
"""


def manifest(*texts: str, **options: Any) -> Manifest:
    found = load([(f"{place}.yaml", text) for place, text in enumerate(texts)], **options)
    assert isinstance(found, Manifest), found
    return found


def problems(*texts: str, **options: Any) -> list[Problem]:
    found = load([(f"{place}.yaml", text) for place, text in enumerate(texts)], **options)
    assert isinstance(found, list), found
    return found


def same(left: list[ControlRecord], right: list[ControlRecord]) -> bool:
    return sorted(left, key=lambda one: one.key) == sorted(right, key=lambda one: one.key)


def test_names_become_ids_that_are_the_same_each_time() -> None:
    records = manifest(TEXT).records()
    page = named_record_id("6f2a", "action", "page")
    late = named_record_id("6f2a", "flow_sla_config", "etl late")
    by_kind = {(type(one), getattr(one, "name", None)): one for one in records}
    assert by_kind[Action, "page"].id == page
    assert by_kind[Automation, "etl late"] == Automation(
        id=named_record_id("6f2a", "automation", "etl late"),
        tenant_id="6f2a",
        tenant_slug="acme",
        name="etl late",
        event_type="FlowSLAFailedEvent",
        flow_sla_config_id=late,
        action_ids=[page],
    )
    assert by_kind[FlowSLAConfig, None] == FlowSLAConfig(
        id=late, tenant_id="6f2a", kind="STARTED_NOT_FINISHED", duration_seconds=3600, flow_group_ids=["0b9c"]
    )
    assert by_kind[AgentConfig, "prod"].id == named_record_id("6f2a", "agent_config", "prod")
    failures = by_kind[Automation, "failures"]
    assert isinstance(failures, Automation)
    assert failures.enabled
    assert failures.flow_group_ids is None


def test_a_record_never_comes_before_what_it_refers_to() -> None:
    kinds = [type(one) for one in manifest(TEXT).records()]
    assert kinds.index(Automation) > max(kinds.index(Action), kinds.index(AgentConfig), kinds.index(FlowSLAConfig))


def test_files_and_documents_are_one_manifest() -> None:
    actions, automations = TEXT.split("agent_configs:")
    tenant = "tenant: {id: 6f2a, slug: acme}\n"
    rest = f"{tenant}agent_configs:{automations}"
    assert same(manifest(rest, actions).records(), manifest(TEXT).records())
    assert same(manifest(f"{actions}---\n{rest}---\n").records(), manifest(TEXT).records())
    assert manifest().records() == []
    assert manifest("# nothing\n").records() == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("states:", "state:", 11, "automations[1].when.state: is no known field; did you mean states?"),
        ("when:", "whn:", 8, "automations[0].whn: is no known field; did you mean when?"),
        (
            "webhook_url_secret:",
            "webhook_secret:",
            3,
            "config.webhook_secret: is no known field; did you mean webho",
        ),
        (
            "[page]",
            "[pager]",
            9,
            "automations[0].then[0]: there is no action called pager here; did you mean page?",
        ),
        (
            "agent_config: prod",
            "agent_config: prd",
            14,
            "there is no agent_config called prd here; did you mean",
        ),
        ("3600", "0", 8, "automations[0].when.duration_seconds: must be at least 1"),
        ("3600", "an hour", 8, "automations[0].when.duration_seconds: must be a whole number"),
        ("slug: acme", "slug: 12", 1, "tenant.slug: must be text: put it in quotes"),
        (", duration_seconds: 3600", "", 8, "automations[0].when: duration_seconds is missing: add it"),
        ("event: AgentSLAFailedEvent", "event: AgentSLA", 14, "automations[2].when: must be one of"),
        ("[Failed, TimedOut]", "[]", 11, "automations[1].when.states: must not be empty"),
        (
            "[Failed, TimedOut]",
            "[Failed], flow_group_ids: []",
            11,
            "flow_group_ids: must not be empty: leave it",
        ),
        ("SLACK", "https://hooks.slack.com/x", 3, "is the name of a secret, not an address"),
        (
            "Slack",
            "Slak",
            3,
            "actions[0].type: is no known type of action; did you mean SlackNotificationAction?",
        ),
        (
            "SLACK",
            "SLACK, message: '{flow_run_nme}'",
            9,
            "{flow_run_nme} is no attribute of FlowSLAFailedEvent; did",
        ),
        (
            "name: failures",
            "name: agents",
            13,
            "automations[2]: agents stands twice: choose another name, or give",
        ),
        ("tenant: {id: 6f2a, slug: acme}", "{}", 2, "is no YAML"),
        ("tenant: {id: 6f2a, slug: acme}", "# none", 2, "tenant: is missing"),
        ("enabled: true", "enabled: 'true'", 7, "automations[0].enabled: must be true or false"),
        ("{name: prod}", "{}", 4, "agent_configs[0]: needs a name, or an id"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_a_remedy(old: str, new: str, line: int, message: str) -> None:
    found = problems(TEXT.replace(old, new))
    assert message in found[0].message
    assert (found[0].file, found[0].line) == ("0.yaml", line)
    assert str(found[0]).startswith(f"0.yaml:{line}:")


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    found = problems(TEXT.replace("3600", "0").replace("states:", "state:"), "tenant: [", "- x")
    assert [one.file for one in found] == ["0.yaml", "0.yaml", "1.yaml", "2.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: *nowhere",
        "- &a [*a]",
        "a: 1\na: 2",
        "\x00",
        "a: !!python/object:os.system {}",
        "? [a]\n: b",
        "5",
    ],
)
def test_what_is_no_usable_yaml_is_refused_with_its_place(text: str) -> None:
    assert all(one.line >= 1 and one.column >= 1 for one in problems(text))


def test_aliases_that_multiply_without_end_are_refused_before_they_do() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "use fewer aliases" in problems("\n".join(lines))[0].message


def test_anchors_are_fine_otherwise() -> None:
    text = TEXT.replace("then: [page]", "then: &then [page]", 1).replace("then: [page]", "then: *then")
    assert same(manifest(text).records(), manifest(TEXT).records())


class TestFlowsByName:
    """Flows given by name get the ids that the catalog knows."""

    TEXT = TEXT.replace("[Failed, TimedOut]", "[Failed], flows: [etl, billing]").replace(
        "flow_group_ids: [0b9c]", "flow_group_ids: [0b9c], flows: [etl]"
    )

    def test_they_wait_for_a_resolver(self) -> None:
        waiting = manifest(self.TEXT)
        assert [flow.name for flow in waiting.flows] == ["etl", "etl", "billing"]
        with pytest.raises(UnresolvedFlows, match="billing, etl"):
            waiting.records()

    def test_they_join_the_ids_that_are_given(self) -> None:
        groups = {("6f2a", "etl"): "g1", ("6f2a", "billing"): "g2"}
        records = manifest(self.TEXT, resolve_flow=lambda tenant, name: groups.get((tenant, name))).records()
        found = [one.flow_group_ids for one in records if isinstance(one, FlowSLAConfig)]
        found += [one.flow_group_ids for one in records if isinstance(one, Automation) and one.states]
        assert found == [["0b9c", "g1"], ["g1", "g2"]]

    def test_one_that_nobody_has_seen_is_a_problem_at_its_line(self) -> None:
        found = problems(self.TEXT, resolve_flow=lambda tenant, name: "g" if name == "etl" else None)
        assert [one.line for one in found] == [11]
        assert "when.flows[1]: no flow called billing has been seen" in found[0].message


class TestReferences:
    """Records are told apart and found by id where names won't do."""

    def test_two_of_one_name_need_ids_and_are_used_by_id(self) -> None:
        twice = TEXT.replace("actions:\n", "actions:\n  - {id: x1, name: page, type: CancelFlowRunAction}\n")
        assert "2 of kind action are called page: write {id: …} instead" in problems(twice)[0].message
        by_id = twice.replace("then: [page]", "then: [{id: x1}]").replace("AgentSLAFailedEvent, agent", "X, agent")
        good = by_id[: by_id.index("  - name: agents")]
        automation = next(one for one in manifest(good).records() if isinstance(one, Automation))
        assert automation.action_ids == ["x1"]

    def test_an_sla_config_kept_elsewhere_is_named_by_its_id(self) -> None:
        text = TEXT.replace(
            "kind: STARTED_NOT_FINISHED, duration_seconds: 3600, flow_group_ids: [0b9c]",
            "flow_sla_config_id: s9",
        )
        first = next(one for one in manifest(text).records() if isinstance(one, Automation))
        assert first.flow_sla_config_id == "s9"
        assert not [one for one in manifest(text).records() if isinstance(one, FlowSLAConfig)]

    def test_one_id_with_two_meanings_is_refused(self) -> None:
        other = TEXT.replace("6f2a", "7f3b").replace("{name: page", "{id: a, name: page")
        mine = TEXT.replace("{name: page", "{id: a, name: page")
        assert "stands twice" in problems(mine, other)[0].message

    def test_another_tenants_config_is_refused(self) -> None:
        theirs = "tenant: {id: other, slug: other}\nagent_configs: [{id: c1, name: x}]\n"
        text = TEXT.replace("agent_config: prod", "agent_config_id: c1")
        assert "belongs to another tenant" in problems(theirs, text)[0].message

    def test_one_tenant_has_one_slug(self) -> None:
        found = problems(TEXT, "tenant: {id: 6f2a, slug: other}")
        assert "tenant.slug: is other here but acme elsewhere" in found[0].message
        assert found[0].file == "1.yaml"


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
ids = st.sampled_from(["i1", "i2", "i3", "123", "yes", "0x1"])


@st.composite
def records_of_a_tenant(draw: st.DrawFn, tenant: str) -> list[ControlRecord]:
    """Records as the API may have made them: free ids, equal names, dangling references, unused configs."""
    common: dict[str, Any] = {"tenant_id": tenant, "tenant_slug": f"slug of {tenant}"}
    found: dict[str, ControlRecord] = {}

    def keep(record: ControlRecord) -> None:
        found.setdefault(record.key, record)

    for name in draw(st.lists(names, max_size=3)):
        own_id = draw(st.just(named_record_id(tenant, "action", name)) | ids.map(lambda one: f"{tenant}-{one}"))
        config = {"webhook_url_secret": "S", "message": "{automation_name}"}
        keep(Action(id=own_id, name=name, action_type="SlackNotificationAction", config=config, **common))
    for config_name in draw(st.lists(st.none() | names, max_size=2)):
        own_id = draw(ids.map(lambda one: f"{tenant}-{one}"))
        keep(AgentConfig(id=own_id, tenant_id=tenant, name=config_name))
    for config_id in draw(st.lists(ids.map(lambda one: f"{tenant}-{one}"), max_size=2)):
        groups = draw(st.none() | st.lists(names, max_size=2))
        keep(FlowSLAConfig(id=config_id, tenant_id=tenant, kind="SCHEDULED_NOT_STARTED", duration_seconds=5,
                           flow_group_ids=groups))  # fmt: skip
    for name in draw(st.lists(names, max_size=3)):
        actions = [one.id for one in found.values() if isinstance(one, Action)]
        own_id = draw(st.just(named_record_id(tenant, "automation", name)) | ids.map(lambda one: f"{tenant}-{one}"))
        conditions: list[dict[str, Any]] = [
            {
                "event_type": "FlowRunStateChangedEvent",
                "states": draw(st.lists(names, min_size=1, max_size=2)),
            },
            {"event_type": "FlowSLAFailedEvent", "flow_sla_config_id": f"{tenant}-{draw(ids)}"},
            {"event_type": "AgentSLAFailedEvent", "agent_config_id": f"{tenant}-{draw(ids)}"},
        ]
        keep(Automation(id=own_id, name=name, enabled=draw(st.booleans()),
                        action_ids=draw(st.lists(st.sampled_from([*actions, "gone"]), max_size=2)),
                        **draw(st.sampled_from(conditions)), **common))  # fmt: skip
    return list(found.values())


@given(records_of_a_tenant("t1"), records_of_a_tenant("t2"))
def test_what_is_exported_loads_as_the_same_records(mine: list[ControlRecord], theirs: list[ControlRecord]) -> None:
    everything = [*mine, *theirs]
    assert same(manifest(dump(everything)).records(), everything)


def test_an_export_of_named_records_is_as_short_as_what_was_written() -> None:
    text = dump(manifest(TEXT).records())
    assert "id:" not in text.replace("tenant:\n  id: 6f2a", "")
    assert dump(manifest(text).records()) == text
