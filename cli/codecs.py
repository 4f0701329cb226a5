"""The codec that the settings ask for: with their Schema Registry, or with the fixed ids."""

from schemas.codec import Codec
from schemas.registry import RegistrySource
from topology.settings import Settings


def codec_for(settings: Settings) -> Codec:
    """A codec; with ``SCHEMA_REGISTRY_URL`` it resolves and registers schemas there."""
    url = settings.schema_registry_url
    return Codec(RegistrySource(url) if url else None, settings.topic_prefix)
