"""``EmailNotificationAction``: a message to each address of ``to_emails``, by the mail server of the settings.

Laws:
- The same attempt makes the same bytes, and all attempts have the same Message-ID, so that a server or reader
  that remembers ids drops a repeat.
- Whom the server has taken the message for is not sent it again. A refusal with 4xx may be tried again, one with
  5xx may not.
- What an event's values hold is text: no header, line of a header, or mark-up comes of it.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from html import escape
from typing import NamedTuple

from actions.channels.channel import Channel, Config, Job, Services
from actions.channels.wording import cut, message_of, title_of
from actions.exchange import Exchange, Failure, Mail, MailAnswer, Outcome, Verdict, failed
from schemas.records import AutomationEvent

MAX_SUBJECT = 200
MAX_BODY = 100_000
INVALID_RECIPIENT = "invalid_recipient"

_LINE_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINK = re.compile(r"https?://[^\s<>\"'`{}|\\^]+")
_AFTER_A_LINK = ".,;:!?)]*_"
_ADDRESS = re.compile(r"[^@\s,;<>\x00-\x1f\x7f-\x9f]{1,64}@[^@\s,;<>\x00-\x1f\x7f-\x9f]{1,253}")
_DOMAIN = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Za-z:.]+\]")


class _Recipient(NamedTuple):
    """``place``: in the action's list. ``address``: with its domain in ASCII."""

    place: int
    address: str


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """None: the server's password is the operator's, not the action's."""
    return ()


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """The mail server: ``smtp:host:port``."""
    return f"smtp:{services.smtp_host or ''}:{services.smtp_port}"


def exchange(job: Job) -> Exchange:
    """One message for all who have not had it; one more for those whose address needs SMTPUTF8."""
    listed = _listed(job.config.get("to_emails"))
    left = list(range(len(listed))) if job.recipients_left is None else sorted(set(job.recipients_left))
    problem = _problem(job.services, listed, left)
    if problem is not None:
        return failed(problem)._replace(recipients_left=job.recipients_left)
    refusals: dict[int, Failure] = {}
    for recipients in _grouped(listed, left, refusals):
        reply = yield _mail(job, recipients)
        for index, recipient in enumerate(recipients):
            if isinstance(reply, MailAnswer):
                code = reply.refused.get(index)
                if code is not None:
                    refusals[recipient.place] = Failure(f"smtp_{code}", final=500 <= code <= 599)
            else:
                refusals[recipient.place] = reply if isinstance(reply, Failure) else Failure("answer_unreadable")
    return _outcome(refusals)


def _outcome(refusals: Mapping[int, Failure]) -> Outcome:
    """Done if nobody is left; tried again while that can help anybody; the reason is that of the verdict."""
    if not refusals:
        return Outcome(Verdict.DONE, recipients_left=())
    places = tuple(sorted(refusals))
    reasons = [refusals[place] for place in places]
    decisive = next((failure for failure in reasons if not failure.final), reasons[0])
    return failed(decisive)._replace(recipients_left=places)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _problem(services: Services, listed: list[object], left: list[int]) -> Failure | None:
    if not listed or any(not 0 <= place < len(listed) for place in left):
        return Failure("invalid_config", final=True)
    # The operator may yet name them: the event's age says how long that is waited for.
    if services.smtp_host is None:
        return Failure("smtp_host_missing")
    if services.email_from is None:
        return Failure("email_from_missing")
    return None


def _grouped(listed: list[object], left: list[int], refusals: dict[int, Failure]) -> list[list[_Recipient]]:
    """Those left whom any server can take, then those who need SMTPUTF8; who has no address is refused."""
    plain: list[_Recipient] = []
    international: list[_Recipient] = []
    for place in left:
        address = _normal(listed[place])
        if address is None:
            refusals[place] = Failure(INVALID_RECIPIENT, final=True)
        else:
            (plain if address.isascii() else international).append(_Recipient(place, address))
    return [group for group in (plain, international) if group]


def _normal(value: object) -> str | None:
    """An address with its domain in the form that all servers know; ``None`` for what is no address."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        return None
    name, _, domain = value.partition("@")
    try:
        domain = domain if domain.isascii() else domain.encode("idna").decode()
        # A lone surrogate is no character of any address.
        name.encode()
        if not _DOMAIN.fullmatch(domain):
            return None
        return Address(username=name, domain=domain).addr_spec if name.isascii() else f"{name}@{domain}"
    except (ValueError, IndexError):
        return None


def _mail(job: Job, recipients: list[_Recipient]) -> Mail:
    _, sender = parseaddr(job.services.email_from or "")
    addresses = tuple(recipient.address for recipient in recipients)
    international = not all(address.isascii() for address in (sender, *addresses))
    policy = SMTPUTF8 if international else SMTP
    message = EmailMessage(policy)
    message["From"] = _one_line(job.services.email_from or "")
    message["To"] = ", ".join(addresses)
    message["Subject"] = cut(_one_line(title_of(job, "subject")), MAX_SUBJECT)
    message["Date"] = format_datetime(datetime.fromtimestamp(job.now_ms // 1000, UTC))
    message["Message-ID"] = f"<{_token(job.delivery_id)}@{_id_domain(sender)}>"
    # No out-of-office note or ticket system answers a message that says this.
    message["Auto-Submitted"] = "auto-generated"
    message["X-PREFECT-EVENT-ID"] = _token(job.event.id)
    text = _text(message_of(job, "body"))
    # Quoted-printable keeps lines short, bytes ASCII, and holds no boundary, as "=_" can't be in it.
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    message.add_alternative(_html(text), subtype="html", charset="utf-8", cte="quoted-printable")
    message.set_boundary("=_" + hashlib.sha256(_token(job.delivery_id).encode()).hexdigest()[:32])
    return Mail(sender, addresses, message.as_bytes())


def _one_line(text: str) -> str:
    return _LINE_BREAKS.sub(" ", text).strip()


def _token(text: str) -> str:
    """What an id is in a header: one word of ASCII, of one line's length."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:200] or "_"


def _id_domain(sender: str) -> str:
    domain = sender.rpartition("@")[2]
    try:
        return domain if domain.isascii() else domain.encode("idna").decode()
    except ValueError:
        return "localhost"


def _text(text: str) -> str:
    """The body with line feeds alone, without controls, and not without end."""
    return cut(_CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")), MAX_BODY)


def _html(text: str) -> str:
    """The text, every character of it escaped, with addresses that can be clicked."""
    parts, end = [], 0
    for found in _LINK.finditer(text):
        link = found.group().rstrip(_AFTER_A_LINK)
        parts += [escape(text[end : found.start()]), f'<a href="{escape(link)}">{escape(link)}</a>']
        end = found.start() + len(link)
    parts.append(escape(text[end:]))
    lines = "".join(parts).replace("\n", "<br>\n")
    return f'<!DOCTYPE html>\n<html><body><p style="font-family: sans-serif">{lines}</p></body></html>\n'


CHANNEL = Channel(secret_names, destination, exchange)
