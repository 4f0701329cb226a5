"""One attempt at an action as people read it: what it would say, and what came of saying it. Pure.

Law of a dry run: no secret is read. The channel is given ``***NAME***`` for each secret's value, so what is shown
can't hold one, however it is encoded.
"""

import base64
import binascii
from email import message_from_bytes, policy
from email.message import EmailMessage

from actions.channels.channel import Channel, Job
from actions.exchange import Mail, Outcome, Step, Verdict
from actions.secrets import environment_name


def masked(name: str) -> str:
    """What stands for a secret's value."""
    return f"***{name}***"


def first_step(channel: Channel, job: Job) -> Step | Outcome:
    """What would be sent first, or why nothing would be."""
    exchange = channel.exchange(job)
    try:
        return next(exchange)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        exchange.close()


def outcome_lines(outcome: Outcome, host: str | None = None) -> list[tuple[str, str]]:
    """Lines with their style: what came of an attempt at this host, and what may help."""
    reason = outcome.reason
    word, style = _WORDS[outcome.verdict]
    said = [f"{word}: {reason}" if reason else word]
    if outcome.http_status is not None:
        said.append(f"HTTP {outcome.http_status}")
    if host is not None:
        said.append(f"host {host}")
    if outcome.recipients_left:
        said.append(f"not had by {len(outcome.recipients_left)} of the recipients")
    lines = [(", ".join(said), style)]
    name, _, detail = (reason or "").partition(": ")
    if name == "secret_missing":
        lines.append((f"give it as SECRET_{environment_name(detail)}, or as the file {detail} in SECRETS_DIR", "note"))
    if name in _ADVICE:
        lines.append((_ADVICE[name], "note"))
    return lines


def step_lines(step: Step) -> list[str]:
    """A request or an e-mail as people read it."""
    if isinstance(step, Mail):
        return _mail_lines(step)
    lines = [f"{step.method} {step.url}"]
    lines += [f"{name}: {_header_shown(name, value)}" for name, value in step.headers]
    if step.body:
        lines += ["", *step.body.decode("utf-8", "replace").splitlines()]
    return [_visible(line) for line in lines]


def _mail_lines(mail: Mail) -> list[str]:
    message = message_from_bytes(mail.message, policy=policy.default)
    assert isinstance(message, EmailMessage)
    lines = [f"mail from {mail.sender} to {', '.join(mail.recipients)}"]
    lines += [f"{name}: {value}" for name, value in message.items()]
    for part in message.walk():
        if part.get_content_maintype() == "text":
            lines += ["", *part.get_content().rstrip("\n").splitlines()]
    return [_visible(line) for line in lines]


def _header_shown(name: str, value: str) -> str:
    """Basic authentication is shown decoded, so that it can be checked: its secret is masked."""
    scheme, _, encoded = value.partition(" ")
    if name.lower() != "authorization" or scheme.lower() != "basic":
        return value
    try:
        return f"{scheme} base64({base64.b64decode(encoded, validate=True).decode()})"
    except (binascii.Error, UnicodeDecodeError):
        return value


def _visible(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else "�" for c in line)


_WORDS = {
    Verdict.DONE: ("succeeded", "good"),
    Verdict.RETRY: ("failed, and would be tried again", "bad"),
    Verdict.FINAL: ("failed for good", "bad"),
}
_ADVICE = {
    "egress_denied": "addresses that are not public are reached only if EGRESS_ALLOW names the host or network",
    "prefect_api_url_missing": "set PREFECT_API_URL, and PREFECT_API_KEY_SECRET if the API asks for a key",
    "smtp_host_missing": "set SMTP_HOST and EMAIL_FROM",
    "email_from_missing": "set EMAIL_FROM",
}
