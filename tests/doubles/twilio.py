"""Twilio's Messages resource."""

import base64
import re
from urllib.parse import parse_qs

from aiohttp import web

from tests.doubles.http_service import HttpService, Said, said_json

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_OPTED_OUT = "Attempt to send to unsubscribed recipient"


class Twilio(HttpService):
    """One account. ``messages`` are (number, text) of those it has taken; ``opted_out`` takes none."""

    sid = "AC0123456789abcdef0123456789abcdef"
    token = "token-of-the-account"
    service_sid = "MG0123456789abcdef0123456789abcdef"

    def __init__(self, *opted_out: str) -> None:
        super().__init__()
        self.messages: list[tuple[str, str]] = []
        self._opted_out = frozenset(opted_out)

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """201 with the message, or an error's JSON."""
        if request.headers.get("Authorization") != "Basic " + _basic(self.sid, self.token):
            return refusal(401, 20003, "Authenticate")
        if request.path != f"/2010-04-01/Accounts/{self.sid}/Messages.json" or request.method != "POST":
            return refusal(404, 20404, "The requested resource was not found")
        if request.content_type != "application/x-www-form-urlencoded":
            return refusal(400, 21604, "A 'To' phone number is required.")
        form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
        to, text = form.get("To", ""), form.get("Body", "")
        if form.get("MessagingServiceSid") != self.service_sid:
            return refusal(400, 21701, "The Messaging Service does not exist")
        if not text:
            return refusal(400, 21602, "Message body is required.")
        if len(text) > 1600:
            return refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit")
        if not _NUMBER.fullmatch(to):
            return refusal(400, 21211, f"The 'To' number {to} is not a valid phone number.")
        if to in self._opted_out:
            return refusal(400, 21610, _OPTED_OUT)
        self.messages.append((to, text))
        return said_json(201, {"sid": "SM0123", "status": "accepted", "to": to, "error_code": None})


def refusal(status: int, code: int, message: str = "…", **headers: str) -> Said:
    """An error as Twilio tells it."""
    more = f"https://www.twilio.com/docs/errors/{code}"
    return said_json(status, {"code": code, "message": message, "more_info": more, "status": status}, **headers)


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
