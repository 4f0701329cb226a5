"""The codec that the settings ask for: with their Schema Registry, or with the fixed ids."""

from schemas.codec import Codec
from topology.settings import Settings


def codec_for(settings: Settings) -> Codec:
    """A codec; with ``SCHEMA_REGISTRY_URL`` it resolves and registers schemas there."""
    url = settings.schema_registry_url
    if not url:
        return Codec(None, settings.topic_prefix)
    # Its HTTP client takes a third of a start, and most have no registry.
    from schemas.registry import RegistrySource  # noqa: PLC0415

    return Codec(RegistrySource(url), settings.topic_prefix)
