"""Slack's incoming webhooks."""

from aiohttp import web

from tests.doubles.http_service import HttpService, Said, is_json, json_body


class Slack(HttpService):
    """One webhook, at ``path``. ``texts`` are the messages it has posted."""

    path = "/services/T000/B000/token"

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """``ok``, or the documented word for what is wrong."""
        if request.path != self.path:
            return Said(404, "no_service")
        message = json_body(body)
        if request.method != "POST" or not is_json(request) or not isinstance(message, dict):
            return Said(400, "invalid_payload")
        if not isinstance(message.get("text"), str) or not message["text"].strip():
            return Said(400, "no_text")
        self.texts.append(message["text"])
        return Said(200, "ok", {"Content-Type": "text/html"})
