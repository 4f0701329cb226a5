"""Words for people about input that doesn't fit: where, what is wrong, and what to write instead."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError


class FieldProblem(NamedTuple):
    """``path`` leads to the field (keys and list places, from 0); ``text`` says what is wrong with it."""

    path: tuple[str | int, ...]
    text: str

    def sentence(self) -> str:
        """Both in one line."""
        return f"{path_text(self.path)}: {self.text}" if self.path else self.text


class NestedProblems(ValueError):
    """Problems within a part that is validated apart; their paths are relative to it."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(problem.sentence() for problem in problems))
        self.problems = problems


def path_text(path: Sequence[str | int]) -> str:
    """``automations[0].when.states`` for a path."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def field_problems(error: ValidationError) -> list[FieldProblem]:
    """What pydantic found, in words. Values stay out of them: they may be secret by mistake."""
    found: list[FieldProblem] = []
    for item in error.errors(include_url=False, include_input=True):
        path = tuple(step for step in item["loc"] if not (isinstance(step, str) and step in _INTERNAL))
        context = item.get("ctx", {})
        nested = context.get("error")
        if isinstance(nested, NestedProblems):
            found += [FieldProblem(path + inner.path, inner.text) for inner in nested.problems]
        else:
            found.append(FieldProblem(path, _words(item["type"], context, item["msg"], item["input"])))
    return found


def sentence(error: ValidationError) -> str:
    """All of ``field_problems`` in one line."""
    return "; ".join(problem.sentence() for problem in field_problems(error))


def only_known(value: Any, model: type[BaseModel]) -> Any:
    """``value``; raises ``NestedProblems`` with hints if it maps names that ``model`` doesn't have."""
    if isinstance(value, dict):
        known = list(model.model_fields)
        problems = [
            FieldProblem((str(name),), f"is no known field; {nearest(str(name), known)}")
            for name in value
            if name not in known
        ]
        if problems:
            raise NestedProblems(problems)
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean x?``, or which names there are."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known are {', '.join(known)}" if known else "there are none"


_INTERNAL = frozenset({"function-before", "function-after", "function-plain"})

_WORDS = {
    "missing": "is missing: add it",
    "extra_forbidden": "is no known field: remove it",
    "string_type": "must be text: put it in quotes",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": "must be a whole number without quotes",
    "int_from_float": "must be a whole number without quotes",
    "bool_type": "must be true or false, without quotes",
    "list_type": "must be a list, as in [a, b]",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "model_attributes_type": "must be a mapping of names to values",
    "too_short": "must not be empty: give at least {min_length}",
    "too_long": "must have at most {max_length}, not {actual_length}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "literal_error": "must be {expected}",
    "string_unicode": "must be valid Unicode text",
}


def _words(kind: str, context: dict[str, Any], message: str, value: Any) -> str:
    if kind == "missing":
        return _WORDS[kind]
    if value is None and kind != "value_error":
        return "must not be null: give a value"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    if kind == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}"
    template = _WORDS.get(kind)
    return template.format(**context) if template else message[:1].lower() + message[1:]


PATTERNS: dict[str, str] = {}
"""What a value must be, by the pattern that it must match; filled where patterns are defined."""
