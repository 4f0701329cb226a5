"""Texts for people, in services that give some characters a meaning and bound their length."""

import json
import re
from collections.abc import Callable
from typing import Any

from actions.channels.channel import Job, text_of
from schemas.templates import render_text

DEFAULT_TITLE = "{event_name}: {automation_name}"
"""The title of a message whose action gives none."""

MAX_WORDS = 100_000
"""Characters of a text before its service's own bound, which is below this for each: more is never rendered."""

_CUT_ESCAPE = re.compile(r"(\\|&[#a-z0-9]{0,5})\Z")


def message_of(job: Job, name: str = "message", escape: Callable[[str], str] = str) -> str:
    """The action's text called ``name``, else the event's own, with ``escape`` over all that the event says.

    What an event's values hold is shown as it stands and does nothing; what the action's own text says, does.
    Services refuse a message without text, so one that comes out empty is the event's own, else its title.
    """
    for template in (text_of(job.config, name) or "{message}", "{message}", DEFAULT_TITLE):
        text = render_text(template, job.event, MAX_WORDS, escape)
        if text.strip():
            break
    return text


def title_of(job: Job, name: str = "title", escape: Callable[[str], str] = str) -> str:
    """The action's title, else ``DEFAULT_TITLE``, in one line."""
    template = text_of(job.config, name) or DEFAULT_TITLE
    return " ".join(render_text(template, job.event, MAX_WORDS, escape).split())


def cut(text: str, length: int) -> str:
    """``text`` in at most ``length`` characters (1 or more), the last of them ``…`` if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def cut_escaped(text: str, length: int) -> str:
    """The same of a text with escapes in it, none of which is left in part."""
    return text if len(text) <= length else _CUT_ESCAPE.sub("", text[: length - 1]) + "…"


def json_of(body: bytes) -> dict[str, Any]:
    """The JSON object that a service answered; empty if it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
