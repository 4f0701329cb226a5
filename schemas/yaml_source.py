"""YAML documents with the place of every value in them, so that a problem can point at its line."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import yaml

MAX_VALUES = 200_000
"""Most values that a document may stand for, aliases counted each time: more is a mistake or an attack."""


class Problem(NamedTuple):
    """Something in a file that a person has to correct. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class Document(NamedTuple):
    """One YAML document: its value as plain Python, and the tree that knows where each part stands."""

    file: str
    value: Any
    root: yaml.Node

    def problem(self, path: Sequence[str | int], message: str) -> Problem:
        """A problem at ``path``, or at the nearest enclosing part that is there."""
        mark = _node_at(self.root, path).start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, message)


def documents(file: str, text: str) -> list[Document] | Problem:
    """All documents in ``text``, empty ones left out; or what is wrong with it as YAML."""
    try:
        loader = yaml.SafeLoader(text)
        found = []
        while loader.check_node():
            root = loader.get_node()
            assert root is not None
            wrong = _unusable(root)
            if wrong:
                mark = wrong[0].start_mark
                return Problem(file, mark.line + 1, mark.column + 1, wrong[1])
            found.append((root, loader.construct_document(root)))
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line, column = (at.line + 1, at.column + 1) if at else (1, 1)
        return Problem(file, line, column, f"is no YAML: {error.problem or error.context}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Problem(file, 1, 1, f"is no YAML that can be read: {str(error).splitlines()[0]}")
    return [Document(file, value, root) for root, value in found if value is not None]


def _node_at(node: yaml.Node, path: Sequence[str | int]) -> yaml.Node:
    for step in path:
        child = _child(node, step)
        if child is None:
            break
        node = child
    return node


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                # A scalar's line is the key's; the key is where a person looks.
                return key if isinstance(value, yaml.ScalarNode) else value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step]  # type: ignore[no-any-return]
    return None


def _unusable(root: yaml.Node) -> tuple[yaml.Node, str] | None:
    """A key that stands twice in a mapping, an alias within itself, or aliases that multiply without end."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise _Unusable(node, "an alias stands within what it names: write the value out")
        open_nodes.add(id(node))
        total = 1 + sum(size(child) for child in _children(node))
        if total > MAX_VALUES:
            raise _Unusable(node, f"stands for more than {MAX_VALUES} values: use fewer aliases")
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    try:
        size(root)
    except _Unusable as wrong:
        return wrong.node, wrong.message
    return None


class _Unusable(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.node = node
        self.message = message


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and key.value != "<<":
                    raise _Unusable(key, f"{key.value} stands twice here: keep one")
                seen.add(key.value)
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
