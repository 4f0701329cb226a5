"""What a receiver can and can't do to the runner, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from actions.exchange import Answer, Failure, Request
from actions.transport.egress import egress_policy
from actions.transport.sender import ANSWER_BYTES, Sender

HERE = egress_policy(("127.0.0.0/8",))
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1")
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def saying(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return serve


async def send(serve: Serve, timeout_ms: int = 2_000) -> Answer | Failure:
    async with serving(serve) as url, Sender(HERE) as sender:
        return await sender.send(Request(url, (("X-A", "b"),), b"{}"), timeout_ms)


async def test_an_answer_comes_with_its_status_body_and_retry_after() -> None:
    answer = await send(saying(b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait"))
    assert answer == Answer(429, b"wait", "7")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("120", "120"),
        ("1.5", "1.5"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("Wednesday, 21-Oct-26 07:28:00 GMT", "Wednesday, 21-Oct-26 07:28:00 GMT"),
        ("soon", None),
        ("-1", None),
        ("1" * 40, None),
        ("Bearer something-that-was-sent", None),
    ],
)
async def test_of_a_retry_after_only_seconds_and_dates_are_kept(said: str, kept: str | None) -> None:
    answer = await send(saying(f"HTTP/1.1 503 X\r\nRetry-After: {said}\r\nContent-Length: 0\r\n\r\n".encode()))
    assert answer == Answer(503, b"", kept)


async def test_an_answer_without_end_is_read_up_to_its_bound() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    answer = await send(flood)
    assert isinstance(answer, Answer)
    assert answer.status == 200
    assert len(answer.body) == ANSWER_BYTES


async def test_a_body_that_drips_costs_no_more_than_the_timeout_and_the_status_stands() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab")
        await writer.drain()
        await asyncio.sleep(5)

    assert await send(drip, 300) == Answer(200, b"ab")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "disconnected"),
        (b"no http at all\r\n\r\n", "answer_unreadable"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "answer_unreadable"),
    ],
)
async def test_an_answer_that_is_none_has_a_name(said: bytes, reason: str) -> None:
    assert await send(saying(said)) == Failure(reason)


async def test_a_receiver_that_never_answers_is_a_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    assert await send(silent, 200) == Failure("timeout")


async def test_nobody_there_is_a_connection_failed_and_no_name_dns_failed() -> None:
    async with Sender(HERE) as sender:
        assert await sender.send(Request("http://127.0.0.1:1/", (), b"")) == Failure("connection_failed")
        assert await sender.send(Request("http://nobody.invalid/", (), b"")) == Failure("dns_failed")


async def test_a_compressed_answer_is_not_unpacked() -> None:
    said = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    assert await send(saying(said)) == Answer(200, b"abc")


async def test_no_tls_where_it_is_asked_for_is_tried_again() -> None:
    async with serving(saying(b"plain")) as url, Sender(HERE) as sender:
        answer = await sender.send(Request(url.replace("http:", "https:"), (), b""), 2_000)
    assert isinstance(answer, Failure)
    assert not answer.final
