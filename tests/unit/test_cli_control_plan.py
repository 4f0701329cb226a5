"""What whoever changes control records, by the command line or the API, can rely on."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Action, Automation, ControlRecord, FlowSLAConfig
from schemas.manifest import Manifest, load
from streams.control_plan import Change, Plan, Refusal, find, plan, plan_delete

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)

YAML = """
tenant: {id: t, slug: acme}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: SLACK}}
  - {name: call, type: WebhookAction, config: {url: "https://example.com/hook"}}
agent_configs: [{name: prod}]
automations:
  - name: late
    when: {event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 60}
    then: [page]
  - name: failures
    when: {event: FlowRunStateChangedEvent, states: [Failed]}
    then: [page]
  - name: agents
    when: {event: AgentSLAFailedEvent, agent_config: prod}
    then: [call]
"""


def records(text: str = YAML) -> list[ControlRecord]:
    manifest = load([("a.yaml", text)])
    assert isinstance(manifest, Manifest)
    return manifest.records()


def done(made: Plan) -> list[Change]:
    assert isinstance(made, list)
    return made


def refused(made: Plan) -> str:
    assert isinstance(made, Refusal)
    return "\n".join(made.problems)


def table(changes: list[Change], before: dict[str, ControlRecord] | None = None) -> dict[str, ControlRecord]:
    after = dict(before or {})
    for change in changes:
        if change.record is None:
            after.pop(change.key, None)
        else:
            after[change.key] = change.record
    return after


def applied(text: str = YAML) -> dict[str, ControlRecord]:
    return table(done(plan({}, records(text), now=NOW)))


def automation(held: dict[str, ControlRecord], name: str) -> Automation:
    return next(r for r in held.values() if isinstance(r, Automation) and r.name == name)


def test_applying_the_same_file_again_writes_nothing() -> None:
    again = done(plan(applied(), records(), now=LATER))
    assert [change.outcome for change in again] == ["unchanged"] * 7
    assert not any(change.is_written for change in again)


def test_a_new_automation_begins_at_revision_1_with_the_time_it_was_made() -> None:
    made = automation(applied(), "failures")
    assert (made.revision, made.created, made.updated) == (1, NOW, NOW)


def test_a_change_counts_the_revision_up_and_keeps_when_it_was_made() -> None:
    changed = YAML.replace("states: [Failed]", "states: [Failed, TimedOut]")
    changes = done(plan(applied(), records(changed), now=LATER))
    assert [change.label for change in changes if change.is_written] == ["automation 'failures'"]
    made = automation(table(changes, applied()), "failures")
    assert (made.revision, made.created, made.updated) == (2, NOW, LATER)


def test_what_is_referred_to_is_written_before_what_refers_to_it_and_deleted_after() -> None:
    kinds = [change.key.split(":")[0] for change in done(plan({}, records(), now=NOW))]
    assert kinds == ["action", "action", "agent_config", "flow_sla_config", *["automation"] * 3]
    gone = done(plan_delete(applied(), [record.key for record in records()]))
    assert [change.key.split(":")[0] for change in gone] == kinds[::-1]


def test_an_action_that_an_automation_uses_is_not_deleted_without_it() -> None:
    held = applied()
    text = refused(plan_delete(held, [key for key in held if key.startswith("action:")]))
    assert "action 'page' is used by automation 'failures': delete that too, or change it first" in text


def test_an_automation_takes_its_sla_config_with_it() -> None:
    held = applied()
    gone = done(plan_delete(held, [automation(held, "late").key]))
    assert [change.key.split(":")[0] for change in gone] == ["automation", "flow_sla_config"]


def test_an_sla_config_that_another_automation_uses_stays() -> None:
    held = applied()
    late = automation(held, "late")
    other = late.model_copy(update={"id": "other", "name": "other"})
    held[other.key] = other
    gone = done(plan_delete(held, [late.key]))
    assert [change.key for change in gone] == [late.key]


def test_an_automation_that_is_no_sla_any_more_gives_its_sla_config_back() -> None:
    changed = YAML.replace(
        "when: {event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 60}",
        "when: {event: FlowRunStateChangedEvent, states: [TimedOut]}",
    )
    changes = done(plan(applied(), records(changed), now=LATER))
    assert {change.outcome for change in changes if change.key.startswith("flow_sla_config")} == {"deleted"}


def test_a_second_record_of_the_same_name_is_refused_as_ambiguous() -> None:
    made_elsewhere = Action(
        id="0b9c",
        tenant_id="t",
        tenant_slug="acme",
        name="page",
        action_type="SlackNotificationAction",
        config={"webhook_url_secret": "OTHER"},
    )
    text = refused(plan({made_elsewhere.key: made_elsewhere}, records(), now=NOW))
    assert "action 'page' is ambiguous" in text
    assert "`id: 0b9c`" in text


def test_a_second_record_of_the_same_name_is_taken_when_it_brings_its_id() -> None:
    named = YAML.replace("{name: page,", "{id: 0b9c, name: page,")
    held = table(done(plan({}, records(named), now=NOW)))
    twin = records(named.replace("id: 0b9c", "id: 1c8d"))
    assert isinstance(plan(held, [r for r in twin if isinstance(r, Action)], now=NOW), list)


def test_a_reference_to_nothing_is_refused() -> None:
    only_automations = [record for record in records() if not isinstance(record, Action)]
    assert "automation 'agents': there is no action" in refused(plan({}, only_automations, now=NOW))


def test_an_action_that_does_not_suit_the_automations_that_use_it_is_refused() -> None:
    cancel = YAML.replace('type: WebhookAction, config: {url: "https://example.com/hook"}', "type: CancelFlowRunAction")
    actions = [record for record in _drafts_without_pairing(cancel) if isinstance(record, Action)]
    assert "automation 'agents': action call: CancelFlowRunAction" in refused(plan(applied(), actions, now=NOW))


def _drafts_without_pairing(text: str) -> list[ControlRecord]:
    """The file's actions alone: the file by itself would be refused already."""
    manifest = load([("a.yaml", text.partition("agent_configs")[0])])
    assert isinstance(manifest, Manifest)
    return manifest.records()


def test_an_id_of_another_tenant_is_never_taken_over() -> None:
    foreign = [record.model_copy(update={"tenant_id": "u"}) for record in records()]
    assert "belongs to another tenant" in refused(plan(applied(), foreign, now=NOW))


def test_a_change_made_from_an_old_revision_is_refused() -> None:
    held = applied()
    late = automation(held, "late")
    text = refused(plan(held, [late], now=LATER, seen_revisions={late.key: 7}))
    assert "was changed meanwhile: revision 1, not 7; read it again" in text


def test_pruning_deletes_what_the_tenant_has_beyond_the_file_and_nobody_elses() -> None:
    held = applied()
    other = FlowSLAConfig(id="x", tenant_id="u", kind="STARTED_NOT_FINISHED", duration_seconds=5)
    held[other.key] = other
    fewer = [r for r in records() if r.key != automation(held, "agents").key]
    changes = done(plan(held, fewer, now=LATER, prune=True))
    assert [change.label for change in changes if change.outcome == "deleted"] == ["automation 'agents'"]


def test_deleting_what_is_not_there_says_so_and_writes_nothing() -> None:
    (change,) = done(plan_delete({}, ["action:none"]))
    assert (change.outcome, change.is_written) == ("absent", False)


def test_a_record_that_nobody_can_use_can_be_deleted() -> None:
    (change,) = done(plan_delete({}, ["action:broken"], invalid=["action:broken"]))
    assert (change.outcome, change.is_written) == ("deleted", True)


def test_records_are_found_by_name_or_id_and_ambiguous_names_need_the_tenant() -> None:
    held = applied()
    page = next(key for key, r in held.items() if isinstance(r, Action) and r.name == "page")
    assert find(held, "action", "page") == page
    assert find(held, "action", page.partition(":")[2]) == page
    twin = held[page].model_copy(update={"id": "twin", "tenant_id": "u"})
    held[twin.key] = twin
    assert "ambiguous: give the id or --tenant" in refused_find(find(held, "action", "page"))
    assert find(held, "action", "page", tenant="u") == "action:twin"
    assert "there are: call, page" in refused_find(find(applied(), "action", "nope"))


def refused_find(found: str | Refusal) -> str:
    assert isinstance(found, Refusal)
    return found.problems[0]


@settings(deadline=None)
@given(st.sets(st.sampled_from(range(7))), st.booleans())
def test_whatever_was_there_a_plan_leads_to_the_file_and_the_next_to_nothing(present: set[int], prune: bool) -> None:
    held = {r.key: r for at, r in enumerate(applied().values()) if at in present}
    after = table(done(plan(held, records(), now=LATER, prune=prune)), held)
    assert {r.key for r in records()} == after.keys()
    assert not any(change.is_written for change in done(plan(after, records(), now=LATER, prune=prune)))
