"""Prefect 1's GraphQL API, of its server and its Cloud.

Errors come with status 200: ``errors`` with codes, or a ``success`` of false. Every question names the event's
tenant, so that no automation reaches another tenant's runs and flows.
"""

from collections.abc import Generator, Mapping
from typing import Any

from actions.channels.channel import Job
from actions.channels.prefect_call import (
    Api,
    answered,
    api_of,
    done,
    group_of,
    run_of,
    state_message,
    unreadable,
)
from actions.channels.wording import json_of
from actions.exchange import Answer, Exchange, Failure, Outcome, Reply, Request, Verdict, classify_status, failed

RUN = """query ($id: uuid!, $tenant: uuid!) {
  flow_run(where: {id: {_eq: $id}, tenant_id: {_eq: $tenant}}) { state version }
}"""
SET_STATE = """mutation ($input: set_flow_run_states_input!) {
  set_flow_run_states(input: $input) { states { id status } }
}"""
SCHEDULED_FLOWS = """query ($id: uuid!, $tenant: uuid!) {
  flow_group(where: {id: {_eq: $id}, tenant_id: {_eq: $tenant}}) { id }
  flow(where: {
    flow_group_id: {_eq: $id}, tenant_id: {_eq: $tenant}, archived: {_eq: false}, is_schedule_active: {_eq: true}
  }) { id }
}"""
SET_INACTIVE = """mutation ($input: set_schedule_inactive_input!) {
  set_schedule_inactive(input: $input) { success }
}"""
NEWEST_FLOW = """query ($id: uuid!, $tenant: uuid!) {
  flow(
    where: {flow_group_id: {_eq: $id}, tenant_id: {_eq: $tenant}, archived: {_eq: false}}
    order_by: [{version: desc}], limit: 1
  ) { id version_group_id }
}"""
CREATE_RUN = """mutation ($input: create_flow_run_input!) {
  create_flow_run(input: $input) { id }
}"""

_FINISHED = {name.casefold(): name for name in (
    "Finished", "Success", "Cached", "Mapped", "Skipped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed",
    "Cancelled", "Looped",
)}  # fmt: skip

# Of the API and of the database's engine behind it. Only these are named in a result.
_PASSING = frozenset({"API_ERROR", "INTERNAL_SERVER_ERROR", "RATE_LIMITED", "unexpected", "postgres-error"})
_FOR_GOOD = frozenset(
    {"BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "UNAUTHENTICATED", "FORBIDDEN",
     "validation-failed", "data-exception", "access-denied", "permission-error", "invalid-headers", "invalid-jwt"}
)  # fmt: skip

Data = dict[str, Any]
Asked = Generator[Request, Reply, tuple[Answer, Data] | Outcome]


def cancel(job: Job) -> Exchange:
    """What ``cancel_flow_run`` does, with a message: Running becomes Cancelling, all else that isn't over Cancelled."""
    run_id = run_of(job)
    asked = yield from _ask(job, RUN, run_id)
    if isinstance(asked, Outcome):
        return asked
    answer, data = asked
    run = _first(data, "flow_run")
    if run is None:
        return _final(answer, "flow_run_not_found")
    state, version = str(run.get("state") or "").casefold(), run.get("version")
    if state in _FINISHED:
        return done(answer, f"already_finished: {_FINISHED[state]}")
    if state == "cancelling":
        return done(answer, "already_cancelling")
    new = {"type": "Cancelling" if state == "running" else "Cancelled", "message": state_message(job)}
    told = yield from _tell(job, SET_STATE, {"states": [{"flow_run_id": run_id, "version": version, "state": new}]})
    if isinstance(told, Outcome):
        return told
    answer, data = told
    written = _first(data.get("set_flow_run_states"), "states")
    return done(answer) if written is not None and written.get("status") == "SUCCESS" else _again(answer, "not_set")


def pause(job: Job) -> Exchange:
    """Sets the schedule of each of the group's flows in use inactive, which also removes the runs that it made."""
    asked = yield from _ask(job, SCHEDULED_FLOWS, group_of(job, own=True))
    if isinstance(asked, Outcome):
        return asked
    answer, data = asked
    if _first(data, "flow_group") is None:
        return _final(answer, "flow_group_not_found")
    flows = _listed(data, "flow")
    for flow in flows:
        told = yield from _tell(job, SET_INACTIVE, {"flow_id": flow.get("id")})
        if isinstance(told, Outcome):
            return told
        answer, data = told
        result = data.get("set_schedule_inactive")
        if not isinstance(result, dict) or result.get("success") is not True:
            return _again(answer, "success_false")
    return done(answer, None if flows else "already_paused")


def create(job: Job) -> Exchange:
    """A run of the group's newest flow in use; the delivery's id keeps it a single one."""
    asked = yield from _ask(job, NEWEST_FLOW, group_of(job, own=False))
    if isinstance(asked, Outcome):
        return asked
    answer, data = asked
    flow = _first(data, "flow")
    if flow is None:
        return _final(answer, "flow_group_not_found")
    # The key counts within what the run is asked of: by version group it holds though a newer flow be registered.
    group = flow.get("version_group_id")
    which = {"version_group_id": group} if group else {"flow_id": flow.get("id")}
    told = yield from _tell(job, CREATE_RUN, {**which, "idempotency_key": job.delivery_id})
    if isinstance(told, Outcome):
        return told
    answer, data = told
    created = data.get("create_flow_run")
    return done(answer) if isinstance(created, dict) and created.get("id") else _again(answer, "not_created")


def _ask(job: Job, query: str, thing_id: str | Failure) -> Asked:
    if isinstance(thing_id, Failure):
        return failed(thing_id)
    return (yield from _said(job, query, {"id": thing_id, "tenant": job.event.tenant_id}))


def _tell(job: Job, mutation: str, given: Mapping[str, Any]) -> Asked:
    return (yield from _said(job, mutation, {"input": given}))


def _said(job: Job, query: str, variables: Mapping[str, Any]) -> Asked:
    api = api_of(job)
    if isinstance(api, Failure):
        return failed(api)
    return _read((yield _request(api, job.event.tenant_id, {"query": query, "variables": variables})))


def _request(api: Api, tenant_id: str, body: Mapping[str, Any]) -> Request:
    tenant = ("X-PREFECT-TENANT-ID", tenant_id)
    if api.key is None:
        return api.post(api.url, body, tenant)
    return api.post(api.url, body, ("Authorization", f"Bearer {api.key}"), tenant)


def _read(reply: Reply) -> tuple[Answer, Data] | Outcome:
    """The data of an answer without errors, else what the errors mean."""
    if isinstance(reply, Answer):
        said = json_of(reply.body)
        if said.get("errors"):
            return _refused(reply, _codes(said["errors"]))
        answer = answered(reply)
        data = said.get("data")
        if isinstance(answer, Outcome):
            return answer
        return (answer, data) if isinstance(data, dict) else unreadable(answer)
    answer = answered(reply)
    assert isinstance(answer, Outcome)
    return answer


def _refused(answer: Answer, codes: list[str]) -> Outcome:
    code = next((code for code in codes if code in _PASSING | _FOR_GOOD), None)
    reason = f"http_{answer.status}: {code or 'graphql_errors'}"
    by_status = classify_status(answer)
    if code in _PASSING:
        verdict = Verdict.RETRY
    elif code in _FOR_GOOD or by_status is Verdict.FINAL:
        verdict = Verdict.FINAL
    else:  # What nobody knows may pass.
        verdict = Verdict.RETRY
    return Outcome(verdict, reason, answer.status, answer.retry_after)


def _codes(errors: Any) -> list[str]:
    found = []
    for error in errors if isinstance(errors, list) else []:
        extensions = error.get("extensions") if isinstance(error, dict) else None
        code = extensions.get("code") if isinstance(extensions, dict) else None
        if isinstance(code, str):
            found.append(code)
    return found


def _listed(data: Any, name: str) -> list[Data]:
    rows = data.get(name) if isinstance(data, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _first(data: Any, name: str) -> Data | None:
    return next(iter(_listed(data, name)), None)


def _final(answer: Answer, reason: str) -> Outcome:
    return Outcome(Verdict.FINAL, reason, answer.status)


def _again(answer: Answer, reason: str) -> Outcome:
    return Outcome(Verdict.RETRY, f"http_{answer.status}: {reason}", answer.status, answer.retry_after)
