"""Which partition a key belongs to.

The laws:

* ``murmur2`` is what Java's client does with a non-null key, and librdkafka with
  ``partitioner=murmur2_random``: ``toPositive(murmur2(key)) % n``.
* ``crc32`` is librdkafka's ``consistent_random``: ``crc32(key) % n``. An empty key is left out of both
  promises there: librdkafka places it at random.
"""

from struct import unpack
from typing import Literal
from zlib import crc32

Partitioner = Literal["murmur2", "crc32"]

LIBRDKAFKA_PARTITIONERS: dict[Partitioner, str] = {
    "murmur2": "murmur2_random",
    "crc32": "consistent_random",
}
"""The value of librdkafka's ``partitioner`` that places keys as each of ours."""

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_SIGNLESS = 0x7FFFFFFF


def murmur2(key: bytes) -> int:
    """The 32-bit murmur2 hash of ``key`` with Kafka's seed, unsigned."""
    length = len(key)
    words = length >> 2
    h = (_SEED ^ length) & _MASK
    for k in unpack(f"<{words}I", key[: words << 2]):
        k = (k * _M) & _MASK  # noqa: PLW2901 - the loop is hot; a second name costs more than it tells
        h = ((h * _M) & _MASK) ^ (((k ^ (k >> 24)) * _M) & _MASK)
    rest = length & 3
    if rest:
        h = ((h ^ int.from_bytes(key[length - rest :], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


def murmur2_partition(key: bytes, n: int) -> int:
    """The partition, of ``n``, in which Java's default partitioner puts ``key``."""
    return (murmur2(key) & _SIGNLESS) % n


def crc32_partition(key: bytes, n: int) -> int:
    """The partition, of ``n``, in which librdkafka's ``consistent`` partitioners put ``key``."""
    return crc32(key) % n


def partition_of(partitioner: Partitioner, key: bytes, n: int) -> int:
    """The partition, of ``n``, in which all producers of an input put ``key``."""
    return crc32_partition(key, n) if partitioner == "crc32" else murmur2_partition(key, n)
