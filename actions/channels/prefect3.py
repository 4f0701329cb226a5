"""Prefect 3's REST API. A flow group's id is a deployment's id there.

The status of an HTTP answer doesn't tell what became of a transition: 201 means that the request made a new
state, which may be another than the proposed one (a run without infrastructure goes to CANCELLED at once), and
200 that the run stays as it is. Either way the answer holds the state that the run is in.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import UUID

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
from actions.exchange import Answer, Exchange, Failure, Outcome, Request, Verdict, failed

_FINISHED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_STATES = _FINISHED | {"SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"}
# A finished run's answer may be longer than what is read of one; its type stands at the beginning.
_CUT = re.compile(rb'\{"state":\{"id":"[0-9a-f-]{36}","type":"([A-Z]+)"')


def cancel(job: Job) -> Exchange:
    """Proposes CANCELLING with the message; a run that is finished or on its way there needs no more."""
    answer = yield from _posted(job, "flow_runs", run_of(job), "set_state", {
        "state": {"type": "CANCELLING", "name": "Cancelling", "message": state_message(job)}, "force": False
    })  # fmt: skip
    return answer if isinstance(answer, Outcome) else _cancelled(answer)


def pause(job: Job) -> Exchange:
    """Pauses the deployment: its schedules make no runs until somebody resumes it."""
    answer = yield from _posted(job, "deployments", group_of(job, own=True), "pause_deployment", None)
    if isinstance(answer, Outcome):
        return answer
    return done(answer) if answer.body.strip() in (b"", b"null") else unreadable(answer)


def create(job: Job) -> Exchange:
    """Makes a run of the deployment that is scheduled for now; the delivery's id keeps it a single one."""
    answer = yield from _posted(job, "deployments", group_of(job, own=False), "create_flow_run", {
        "idempotency_key": job.delivery_id, "tags": [f"automation:{job.event.automation_name}"]
    })  # fmt: skip
    if isinstance(answer, Outcome):
        return answer
    if not answer.body.lstrip().startswith(b'{"id":'):
        return unreadable(answer)
    return done(answer, None if answer.status == 201 else "already_created")


def _posted(job: Job, things: str, thing_id: str | Failure, verb: str, body: Mapping[str, Any] | None) -> Any:
    """An exchange in itself: POST to a thing's address; the ``Answer``, or the ``Outcome`` if that settles it."""
    api = api_of(job)
    if isinstance(api, Failure):
        return failed(api)
    if isinstance(thing_id, Failure):
        return failed(thing_id)
    try:
        # In its normal form an id can't lead to another address.
        thing_id = str(UUID(thing_id))
    except ValueError:
        return failed(Failure("invalid_id", final=True))
    reply = yield _request(api, f"{things}/{thing_id}/{verb}", body)
    if isinstance(reply, Answer) and reply.status == 404 and _is_prefects(reply):
        return Outcome(Verdict.FINAL, f"http_404: no_such_{things[:-1]}", 404)
    return answered(reply)


def _is_prefects(not_found: Answer) -> bool:
    """Whether Prefect looked for the thing, rather than somebody for the address, which the setting may have wrong."""
    said = json_of(not_found.body)
    return "exception_message" in said or said.get("detail") == "Deployment not found"


def _request(api: Api, path: str, body: Mapping[str, Any] | None) -> Request:
    url = f"{api.url}/{path}"
    return api.post(url, body) if api.key is None else api.post(url, body, ("Authorization", _credentials(api.key)))


def _credentials(key: str) -> str:
    # A server of one's own is opened by user:password, Prefect Cloud by a key, which has no colon.
    return f"Basic {b64encode(key.encode()).decode()}" if ":" in key else f"Bearer {key}"


def _cancelled(answer: Answer) -> Outcome:
    state = _state_type(answer)
    if state is None:
        return unreadable(answer)
    if state in _FINISHED or state == "CANCELLING":
        if answer.status == 201 and state in ("CANCELLING", "CANCELLED"):
            return done(answer)
        return done(answer, "already_cancelling" if state == "CANCELLING" else f"already_finished: {state}")
    return Outcome(Verdict.RETRY, f"http_{answer.status}: still_{state}", answer.status, answer.retry_after)


def _state_type(answer: Answer) -> str | None:
    state = json_of(answer.body).get("state")
    found = state.get("type") if isinstance(state, dict) else None
    if found is None:
        cut_off = _CUT.match(answer.body)
        found = cut_off and cut_off.group(1).decode()
    return found if found in _STATES else None
