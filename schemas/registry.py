"""Schema ids from a Confluent-compatible Schema Registry, through confluent-kafka's own client."""

import json
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import OAuthTokenError, SchemaRegistryError

from schemas.avro_schemas import Schema
from schemas.codec import RegistryRefused, RegistryUnavailable, UnknownSchemaId

_NO_SUBJECT, _NO_SCHEMA = 40401, 40403
_REFUSALS = frozenset({403, 409, 422})

AWAY_S = 1.0
"""After it could not be reached, nobody waits for it again for so long."""

Answer = TypeVar("Answer")


class RegistrySource:
    """A ``SchemaSource`` at ``url`` (several, separated by commas; credentials may stand in it).

    Only the registry's own code 40403 counts as "no such id": a proxy's or a wrong address's 404 does not.
    What it answered is kept for ever, as ids never change; that an id is missing is asked anew each time. That it
    can't be reached takes seconds to find out, and holds for a moment: there may be many who ask. ``clock`` counts
    seconds.
    """

    def __init__(self, url: str, timeout_seconds: int = 5, clock: Callable[[], float] = monotonic) -> None:
        # Few and short retries: the caller holds its partition, must keep polling, and asks again.
        conf = {"url": url, "timeout": timeout_seconds, "max.retries": 1, "retries.wait.ms": 100}
        self._client = SchemaRegistryClient(conf)
        self._place = ", ".join(urlsplit(one).netloc.rpartition("@")[2] for one in url.split(","))
        self._clock = clock
        self._away: tuple[float, str] | None = None
        """Until when it counts as away, and why."""
        self._schemas: dict[int, Schema] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def by_id(self, schema_id: int) -> Schema:
        """The writer's schema. Raises ``UnknownSchemaId`` or ``RegistryUnavailable``."""
        known = self._schemas.get(schema_id)
        if known is not None:
            return known
        try:
            found = self._ask(lambda: self._client.get_schema(schema_id))
        except SchemaRegistryError as error:
            if error.http_status_code == 404 and error.error_code == _NO_SCHEMA:
                raise UnknownSchemaId(f"the registry has no schema with id {schema_id}") from None
            raise self._unavailable(error) from None
        if (found.schema_type or "AVRO") != "AVRO":
            raise UnknownSchemaId(f"the registry's schema {schema_id} is {found.schema_type}, not AVRO")
        try:
            schema = json.loads(found.schema_str or "")
        except ValueError:
            raise RegistryUnavailable(f"{self._who()} sent schema {schema_id} as no JSON") from None
        if not isinstance(schema, dict):
            raise UnknownSchemaId(f"the registry's schema {schema_id} is no record")
        self._schemas[schema_id] = schema
        return schema

    def id_of(self, subject: str, schema: Schema) -> int:
        """Id of ``schema`` under ``subject``, registered there if it isn't yet.

        Raises ``RegistryUnavailable``, or ``RegistryRefused`` where the registry won't have it.
        """
        text = json.dumps(schema)
        known = self._ids.get((subject, text))
        if known is not None:
            return known
        found = self._looked_up(subject, RegistrySchema(text, "AVRO"))
        if found is None:
            found = self._registered(subject, RegistrySchema(text, "AVRO"))
        self._ids[subject, text] = found
        return found

    def close(self) -> None:
        """Gives up the connections."""
        self._client.close()

    def _looked_up(self, subject: str, schema: RegistrySchema) -> int | None:
        try:
            answer = self._ask(lambda: self._client.lookup_schema(subject, schema, normalize_schemas=True))
        except SchemaRegistryError as error:
            if error.http_status_code == 404 and error.error_code in (_NO_SUBJECT, _NO_SCHEMA):
                return None
            raise self._unavailable(error) from None
        return self._id(answer.schema_id)

    def _registered(self, subject: str, schema: RegistrySchema) -> int:
        try:
            return self._id(self._ask(lambda: self._client.register_schema(subject, schema, normalize_schemas=True)))
        except SchemaRegistryError as error:
            if error.http_status_code in _REFUSALS:
                raise RegistryRefused(
                    f"{self._who()} won't register the schema under {subject} "
                    f"({error.http_status_code}, {error.error_code}): register it there by hand, or correct "
                    "the subject's compatibility or this client's rights"
                ) from None
            raise self._unavailable(error) from None

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        if self._away is not None and self._clock() < self._away[0]:
            raise RegistryUnavailable(self._away[1])
        self._away = None
        try:
            return request()
        except (
            httpx.HTTPError,
            OAuthTokenError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as error:
            why = f"{self._who()} can't be reached ({type(error).__name__})"
            if isinstance(error, (httpx.HTTPError, OSError)):
                # What it answers badly says something about one schema only.
                self._away = self._clock() + AWAY_S, why
            raise RegistryUnavailable(why) from None

    def _id(self, answer: Any) -> int:
        if isinstance(answer, int):
            return answer
        raise RegistryUnavailable(f"{self._who()} answered without an id")

    def _unavailable(self, error: SchemaRegistryError) -> RegistryUnavailable:
        hint = ": is SCHEMA_REGISTRY_URL right?" if error.http_status_code in (401, 403, 404) else ""
        return RegistryUnavailable(f"{self._who()} answered {error.http_status_code}{hint}")

    def _who(self) -> str:
        return f"the Schema Registry at {self._place}"
