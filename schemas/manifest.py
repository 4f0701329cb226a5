"""The YAML form of control records: files to records with their ids, and records to a file.

Names are unique within a tenant and kind unless an ``id`` tells their bearers apart; a record without one
gets the id made from its name, so applying the same file twice changes nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from schemas.control_models import Automation, ControlRecord, FlowSLAConfig
from schemas.manifest_build import Build, FlowReference, Source
from schemas.manifest_dump import dump
from schemas.manifest_models import BY_ID, BY_NAME, DocumentSpec
from schemas.problems import FieldProblem, field_problems
from schemas.records import AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED, FLOW_SLA_FAILED
from schemas.yaml_source import Document, Problem, documents

__all__ = ["FlowReference", "Manifest", "Problem", "ResolveFlow", "UnresolvedFlows", "dump", "load"]

ResolveFlow = Callable[[str, str], str | None]
"""From a tenant's id and a flow's name to its flow group's id, or ``None`` if there is no such flow."""

# Pydantic puts the branch of a union into the path of a problem; the file has no such step.
_BRANCHES = frozenset({FLOW_RUN_STATE_CHANGED, FLOW_SLA_FAILED, AGENT_SLA_FAILED, BY_NAME, BY_ID})


class UnresolvedFlows(LookupError):
    """Records were asked for while flows given by name have no id yet."""


class Manifest(NamedTuple):
    """What some files say: records in an order in which each follows what it refers to."""

    drafts: tuple[ControlRecord, ...]
    flows: tuple[FlowReference, ...] = ()

    def resolve(self, resolve_flow: ResolveFlow) -> "Manifest | list[Problem]":
        """The same with the ids of all flows given by name, or a problem for each that has none."""
        drafts = list(self.drafts)
        problems: list[Problem] = []
        for flow in self.flows:
            group = resolve_flow(flow.tenant_id, flow.name)
            if group is None:
                problems.append(flow.where)
                continue
            draft = drafts[flow.place]
            assert isinstance(draft, Automation | FlowSLAConfig)
            groups = dict.fromkeys([*(draft.flow_group_ids or []), group])
            drafts[flow.place] = draft.model_copy(update={"flow_group_ids": list(groups)})
        return problems or Manifest(tuple(drafts))

    def records(self) -> list[ControlRecord]:
        """The records. Raises ``UnresolvedFlows`` while ``flows`` are left: ``resolve`` first."""
        if self.flows:
            names = ", ".join(sorted({flow.name for flow in self.flows}))
            raise UnresolvedFlows(f"these flows are given by name and not resolved yet: {names}")
        return list(self.drafts)


def load(texts: Sequence[tuple[str, str]], resolve_flow: ResolveFlow | None = None) -> Manifest | list[Problem]:
    """The manifest that the files (name and text of each) make together, or all problems found in them.

    With ``resolve_flow`` the flows given by name are resolved as well.
    """
    problems: list[Problem] = []
    sources: list[Source] = []
    for file, text in texts:
        found = documents(file, text)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        for document in found:
            spec = _spec(document)
            if isinstance(spec, list):
                problems += spec
            else:
                sources.append(Source(document, spec))
    if problems:
        return problems
    build = Build()
    build.add(sources)
    if build.problems:
        return build.problems
    manifest = Manifest(tuple(build.drafts), tuple(build.flows))
    return manifest.resolve(resolve_flow) if resolve_flow else manifest


def _spec(document: Document) -> DocumentSpec | list[Problem]:
    try:
        return DocumentSpec.model_validate(document.value)
    except ValidationError as error:
        problems: dict[Problem, None] = {}
        for found in field_problems(error):
            path = tuple(step for step in found.path if step not in _BRANCHES)
            problems[document.problem(path, FieldProblem(path, found.text).sentence())] = None
        return list(problems)
