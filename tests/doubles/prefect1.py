"""Prefect 1's GraphQL API: a schema with its names and rules, executed, and errors in its forms."""

from typing import Any, NamedTuple
from uuid import UUID, uuid4

from aiohttp import web
from graphql import GraphQLError, GraphQLScalarType, build_schema, graphql_sync, parse, validate
from graphql.execution.values import get_variable_values
from graphql.language.ast import OperationDefinitionNode

from tests.doubles.http_service import HttpService, Said, is_json, json_body, said_json

SCHEMA = """
scalar uuid
scalar UUID
scalar JSON
enum order_by { asc desc }
input uuid_comparison_exp { _eq: uuid }
input Boolean_comparison_exp { _eq: Boolean }
input flow_run_bool_exp { id: uuid_comparison_exp, tenant_id: uuid_comparison_exp }
input flow_group_bool_exp { id: uuid_comparison_exp, tenant_id: uuid_comparison_exp }
input flow_bool_exp {
  id: uuid_comparison_exp, tenant_id: uuid_comparison_exp, flow_group_id: uuid_comparison_exp
  archived: Boolean_comparison_exp, is_schedule_active: Boolean_comparison_exp
}
input flow_order_by { version: order_by }
type flow_run { id: uuid!, state: String, version: Int! }
type flow_group { id: uuid! }
type flow { id: uuid!, version: Int, version_group_id: String, is_schedule_active: Boolean! }
type Query {
  flow_run(where: flow_run_bool_exp, limit: Int): [flow_run!]!
  flow_group(where: flow_group_bool_exp, limit: Int): [flow_group!]!
  flow(where: flow_bool_exp, order_by: [flow_order_by!], limit: Int): [flow!]!
}
input set_flow_run_state_input { flow_run_id: UUID!, version: Int, state: JSON! }
input set_flow_run_states_input { states: [set_flow_run_state_input!]! }
type set_flow_run_state_payload { id: UUID, status: String, message: String }
type set_flow_run_states_payload { states: [set_flow_run_state_payload!] }
input set_schedule_inactive_input { flow_id: UUID! }
type success_payload { success: Boolean, error: String }
input create_flow_run_input {
  flow_id: UUID, version_group_id: String, idempotency_key: String, flow_run_name: String, parameters: JSON
}
type flow_run_id_payload { id: UUID }
type Mutation {
  set_flow_run_states(input: set_flow_run_states_input!): set_flow_run_states_payload
  set_schedule_inactive(input: set_schedule_inactive_input!): success_payload
  create_flow_run(input: create_flow_run_input!): flow_run_id_payload
}
"""

STATES = (
    "Pending", "Scheduled", "Paused", "Resume", "Retrying", "Running", "Cancelling", "Finished", "Success", "Cached",
    "Mapped", "Skipped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed", "Cancelled", "Looped",
    "Submitted", "Queued", "ClientFailed",
)  # fmt: skip


class Flow(NamedTuple):
    """A registered flow."""

    id: str
    tenant_id: str
    flow_group_id: str
    version: int
    version_group_id: str | None
    archived: bool


class Run(NamedTuple):
    """A flow run, as its latest state has it."""

    id: str
    tenant_id: str
    flow_id: str
    state: str
    version: int
    message: str | None = None
    idempotency_key: str | None = None


class Prefect1(HttpService):
    """The API of one server. ``key`` opens it, as on Prefect Cloud; without one it is open.

    ``active`` are the flows whose schedule is. ``lock_versions``: a state must name the version that it follows.
    ``failing``: names of the mutations that raise.
    """

    def __init__(self, key: str | None = None, lock_versions: bool = True) -> None:
        super().__init__()
        self._key, self._lock_versions = key, lock_versions
        self.flows: dict[str, Flow] = {}
        self.runs: dict[str, Run] = {}
        self.active: set[str] = set()
        self.failing: set[str] = set()
        self.asked: list[str] = []
        self._schema = build_schema(SCHEMA)
        for name in ("uuid", "UUID"):
            scalar = self._schema.type_map[name]
            assert isinstance(scalar, GraphQLScalarType)
            scalar.coerce_input_value = _uuid

    def flow(self, tenant: str, group: str, *, archived: bool = False, active: bool = False, **more: Any) -> Flow:
        """Register a version of a flow."""
        version = 1 + sum(1 for flow in self.flows.values() if flow.flow_group_id == group)
        group_of_versions = more.get("version_group_id", f"versions of {group}")
        made = Flow(str(uuid4()), tenant, group, version, group_of_versions, archived)
        self.flows[made.id] = made
        if active:
            self.active.add(made.id)
        return made

    def run(self, flow: Flow, state: str, version: int = 3) -> str:
        """Have a run of a flow in a state; its id."""
        made = Run(str(uuid4()), flow.tenant_id, flow.id, state, version)
        self.runs[made.id] = made
        return made.id

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """What the real API says: 200 with data or errors, 400 for a question that it can't read."""
        asked = json_body(body)
        if request.path != "/graphql" or request.method != "POST":
            return Said(404, "Not Found")
        if self._key is not None and request.headers.get("Authorization") != f"Bearer {self._key}":
            return _refused(401, "Unauthorized", "UNAUTHENTICATED")
        if not is_json(request) or not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
            return Said(400, "POST body missing.")
        try:
            document = parse(asked["query"])
        except GraphQLError as error:
            return _refused(400, error.message, "GRAPHQL_PARSE_FAILED")
        problems = validate(self._schema, document)
        if problems:
            return _refused(400, problems[0].message, "GRAPHQL_VALIDATION_FAILED")
        (operation,) = document.definitions
        assert isinstance(operation, OperationDefinitionNode)
        given = asked.get("variables") or {}
        read = get_variable_values(self._schema, operation.variable_definitions or (), given)
        if isinstance(read, list):
            return _refused(400, read[0].message, "BAD_USER_INPUT")
        # The gateway sees the tenant in a header, and so does the Cloud.
        tenant = request.headers.get("X-PREFECT-TENANT-ID")
        if tenant is None:
            return _refused(400, "No tenant.", "BAD_USER_INPUT")
        return self._executed(asked["query"], given)

    def _executed(self, query: str, variables: dict[str, Any]) -> Said:
        root = {
            "flow_run": self._flow_run,
            "flow_group": self._flow_group,
            "flow": self._flow,
            "set_flow_run_states": self._set_flow_run_states,
            "set_schedule_inactive": self._set_schedule_inactive,
            "create_flow_run": self._create_flow_run,
        }
        done = graphql_sync(self._schema, query, root, variable_values=variables)
        answer: dict[str, Any] = {"data": done.data}
        if done.errors:
            answer["errors"] = [
                {"message": error.message, "path": error.path, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
                for error in done.errors
            ]
        return said_json(200, answer)

    def _asked(self, name: str) -> None:
        self.asked.append(name)
        if name in self.failing:
            raise ValueError(f"{name} failed with a text that is nobody's business")

    def _flow_run(self, _: Any, where: dict[str, Any], limit: int | None = None) -> list[dict[str, Any]]:
        self._asked("flow_run")
        return [run._asdict() for run in self.runs.values() if _holds(where, run._asdict())][:limit]

    def _flow_group(self, _: Any, where: dict[str, Any], limit: int | None = None) -> list[dict[str, Any]]:
        groups = {flow.flow_group_id: flow.tenant_id for flow in self.flows.values()}
        rows = [{"id": group, "tenant_id": tenant} for group, tenant in groups.items()]
        return [row for row in rows if _holds(where, row)][:limit]

    def _flow(
        self, _: Any, where: dict[str, Any], order_by: list[dict[str, str]] | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        self._asked("flow")
        rows = [{**flow._asdict(), "is_schedule_active": flow.id in self.active} for flow in self.flows.values()]
        found = [row for row in rows if _holds(where, row)]
        for order in order_by or []:
            found.sort(key=lambda row: int(row["version"]), reverse=order["version"] == "desc")
        return found[:limit]

    def _set_flow_run_states(self, _: Any, input: dict[str, Any]) -> dict[str, Any]:
        self._asked("set_flow_run_states")
        states = []
        for one in input["states"]:
            run, new = self.runs.get(one["flow_run_id"]), one["state"]
            if new["type"] not in STATES or not isinstance(new.get("message"), str):
                raise ValueError("Invalid data")
            if run is None or (self._lock_versions and one.get("version") != run.version):
                raise ValueError(f"State update failed for flow run ID {one['flow_run_id']}")
            self.runs[run.id] = run._replace(state=new["type"], message=new["message"], version=run.version + 1)
            states.append({"id": run.id, "status": "SUCCESS", "message": None})
        return {"states": states}

    def _set_schedule_inactive(self, _: Any, input: dict[str, Any]) -> dict[str, Any]:
        self._asked("set_schedule_inactive")
        self.active.discard(input["flow_id"])
        return {"success": input["flow_id"] in self.flows, "error": None}

    def _create_flow_run(self, _: Any, input: dict[str, Any]) -> dict[str, Any]:
        self._asked("create_flow_run")
        flows = [
            flow
            for flow in sorted(self.flows.values(), key=lambda flow: -flow.version)
            if flow.id == input.get("flow_id")
            or (flow.version_group_id is not None and flow.version_group_id == input.get("version_group_id"))
        ]
        key, ids = input.get("idempotency_key"), {flow.id for flow in flows}
        for run in self.runs.values():
            if key is not None and run.idempotency_key == key and run.flow_id in ids:
                return {"id": run.id}
        flow = next((flow for flow in flows if not flow.archived), None)
        if flow is None:
            raise ValueError("has no unarchived flows")
        run_id = self.run(flow, "Scheduled", 1)
        self.runs[run_id] = self.runs[run_id]._replace(idempotency_key=key)
        return {"id": run_id}


def _holds(where: dict[str, Any], row: dict[str, Any]) -> bool:
    return all(row[name] == wanted for name, asked in where.items() for wanted in asked.values())


def _uuid(value: Any) -> str:
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise GraphQLError("Value is not a UUID") from None


def _refused(status: int, message: str, code: str) -> Said:
    return said_json(status, {"errors": [{"message": message, "extensions": {"code": code}}]})
