"""Both webhooks of Teams: a workflow's and a connector's."""

from typing import Any

from aiohttp import web

from tests.doubles.http_service import HttpService, Said, is_json, json_body, said_json

LIMIT_BYTES = 28 * 1024


class TeamsWorkflow(HttpService):
    """A workflow that posts what it is sent, at ``path``. ``cards`` are the Adaptive Cards of the channel."""

    path = "/workflows/0a1b/triggers/manual/paths/invoke?api-version=2016-06-01&sig=token"

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """202, or an error with a code."""
        if request.path_qs != self.path:
            return _error(401, "DirectApiAuthorizationRequired")
        message = json_body(body)
        if request.method != "POST" or not is_json(request) or not isinstance(message, dict):
            return _error(400, "InvalidRequestContent")
        attachments = message.get("attachments")
        if message.get("type") != "message" or not isinstance(attachments, list) or not attachments:
            return _error(400, "TriggerInputSchemaMismatch")
        for attachment in attachments:
            card = attachment.get("content")
            if attachment.get("contentType") != "application/vnd.microsoft.card.adaptive" or not _is_card(card):
                return _error(400, "TriggerInputSchemaMismatch")
        if len(body) > LIMIT_BYTES:
            return _error(413, "RequestEntityTooLarge")
        self.cards += [attachment["content"] for attachment in attachments]
        return Said(202)


class TeamsConnector(HttpService):
    """An incoming webhook of the older kind, at ``path``. ``cards`` are the MessageCards of the channel."""

    path = "/webhookb2/0a1b@2c3d/IncomingWebhook/token/4e5f"

    def __init__(self) -> None:
        super().__init__()
        self.cards: list[dict[str, Any]] = []

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """``1`` with 200; a card that Teams itself doesn't take is told of with 200 too."""
        card = json_body(body)
        if request.path != self.path:
            return Said(404, "Invalid webhook URL")
        if request.method != "POST" or not is_json(request) or not isinstance(card, dict):
            return Said(400, "Bad payload received by generic incoming webhook.")
        if card.get("@type") != "MessageCard" or (not card.get("summary") and not card.get("text")):
            return Said(400, "Summary or Text is required.")
        if len(body) > LIMIT_BYTES:
            return undelivered(413)
        self.cards.append(card)
        return Said(200, "1")


def undelivered(status: int) -> Said:
    """200 of a connector whose message was not delivered."""
    text = f"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status}"
    return Said(200, f"{text} with ContextId tcid=0,server=X,cv=Y.0..")


def _is_card(card: Any) -> bool:
    if not isinstance(card, dict) or card.get("type") != "AdaptiveCard" or not card.get("version"):
        return False
    blocks = card.get("body")
    return isinstance(blocks, list) and all(
        block.get("type") == "TextBlock" and isinstance(block.get("text"), str) for block in blocks
    )


def _error(status: int, code: str) -> Said:
    return said_json(status, {"error": {"code": code, "message": "The request is invalid."}})
