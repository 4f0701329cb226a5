"""Keys go where every producer of an input puts them."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.partitioner import crc32_partition, murmur2, murmur2_partition, partition_of

# From Kafka's own UtilsTest.testMurmur2, as unsigned numbers.
KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), KNOWN.items())
def test_murmur2_gives_the_hashes_of_javas_client(key: bytes, signed: int) -> None:
    """The values that Kafka's own test of its hash holds."""
    assert murmur2(key) == signed % 2**32


@given(st.binary(max_size=70), st.integers(1, 10_000))
def test_a_partition_is_always_one_of_those_there_are(key: bytes, n: int) -> None:
    """Whatever the key, both partitioners name a partition from 0 to n - 1, the same each time."""
    for partitioner in ("murmur2", "crc32"):
        found = partition_of(partitioner, key, n)
        assert 0 <= found < n
        assert found == partition_of(partitioner, key, n)


@given(st.binary(max_size=70))
def test_murmur2_equals_a_plain_reading_of_the_algorithm(key: bytes) -> None:
    """The quick form and one written byte by byte agree."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) - len(key) % 4
    for i in range(0, whole, 4):
        k = key[i] | key[i + 1] << 8 | key[i + 2] << 16 | key[i + 3] << 24
        k = k * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    for i in reversed(range(whole, len(key))):
        h ^= key[i] << 8 * (i - whole)
        if i == whole:
            h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    h ^= h >> 15
    assert murmur2(key) == h


def test_crc32_is_zlibs_as_in_librdkafka() -> None:
    """``PARTITIONER=crc32`` is librdkafka's ``consistent_random``."""
    assert crc32_partition(b"run-1", 6) == zlib.crc32(b"run-1") % 6
    assert partition_of("crc32", b"run-1", 6) == crc32_partition(b"run-1", 6)
    assert partition_of("murmur2", b"run-1", 6) == murmur2_partition(b"run-1", 6)
