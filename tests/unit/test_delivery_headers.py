"""The headers of retry records and dead letters: what one process writes, the next one reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.delivery_headers import DeliveryHeaders, decode_headers, encode_headers

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TIMES = st.none() | st.integers(0, 2**53)
HEADERS = st.builds(
    DeliveryHeaders, TEXTS, TEXTS, st.integers(0, 99), TEXTS, st.none() | st.integers(100, 599), TIMES,
    st.none() | st.lists(st.integers(0, 99), max_size=5).map(tuple), TIMES,
)  # fmt: skip


@given(HEADERS)
def test_what_is_written_is_what_is_read(headers: DeliveryHeaders) -> None:
    assert decode_headers(encode_headers(headers)) == headers


def test_what_is_not_known_has_no_header_but_nobody_left_differs_from_nobody_served() -> None:
    bare = encode_headers(DeliveryHeaders("d", "a", 1, "timeout"))
    assert [name for name, _ in bare] == ["delivery-id", "action-id", "attempt", "reason"]
    assert ("recipients-left", b"") in encode_headers(DeliveryHeaders("d", "a", 1, "x", recipients_left=()))


@pytest.mark.parametrize("missing", ["delivery-id", "action-id", "attempt"])
def test_without_its_delivery_its_action_or_its_attempt_it_is_none(missing: str) -> None:
    headers = [pair for pair in encode_headers(DeliveryHeaders("d", "a", 1, "x")) if pair[0] != missing]
    assert decode_headers(headers) is None


@pytest.mark.parametrize(
    "wrong",
    [("attempt", b"one"), ("attempt", b""), ("attempt", b"1e3"), ("attempt", b"9" * 5_000), ("http-status", b"ok"),
     ("attempt", b"-1"), ("attempt", b"100000000000000000000"), ("http-status", b"9" * 12),
     ("redriven-at-ms", b"9" * 30), ("not-before-ms", b"-1"), ("recipients-left", b"-1"),
     ("not-before-ms", b"NaN"), ("not-before-ms", b"\xff"), ("recipients-left", b"1,x")
     ],
)  # fmt: skip
def test_a_header_that_can_not_be_read_makes_it_none_not_an_error(wrong: tuple[str, bytes]) -> None:
    assert decode_headers([*encode_headers(DeliveryHeaders("d", "a", 1, "x")), wrong]) is None


def test_headers_of_others_are_left_alone_and_of_a_repeated_one_the_last_counts() -> None:
    headers: list[tuple[str, bytes | None]] = [
        ("traceparent", b""), ("attempt", b"1"), ("empty", None),
        *encode_headers(DeliveryHeaders("d", "a", 2, "x")),
    ]  # fmt: skip
    assert decode_headers(headers) == DeliveryHeaders("d", "a", 2, "x")
    assert decode_headers(None) is None
    assert decode_headers([]) is None


@given(
    st.lists(st.tuples(st.sampled_from(["delivery-id", "action-id", "attempt", "recipients-left", "x"]), st.binary()))
)
def test_whatever_the_headers_are_reading_them_raises_nothing(headers: list[tuple[str, bytes]]) -> None:
    found = decode_headers(headers)
    assert found is None or found.attempt >= 0


def test_a_foreign_header_that_is_no_text_does_not_hide_the_delivery() -> None:
    """Tracing agents add headers of their own, in bytes of their own."""
    headers = [("trace", b"\xff\xfe"), *encode_headers(DeliveryHeaders("d", "a", 2, "x"))]
    assert decode_headers(headers) == DeliveryHeaders("d", "a", 2, "x")


def test_a_reason_that_is_no_text_is_written_all_the_same() -> None:
    """A name in a config may hold half of a surrogate pair; the delivery ends as any other."""
    written = decode_headers(encode_headers(DeliveryHeaders("d", "a", 1, "secret_missing: \ud800")))
    assert written is not None
    assert written.reason == "secret_missing: ?"
