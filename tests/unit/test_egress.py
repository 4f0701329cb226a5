"""Where actions can't be made to connect to, however it is spelled."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from actions.egress import EgressDenied, checked_url, egress_policy, guarded_socket
from actions.exchange import Answer, Failure, Request
from actions.sender import Sender

NOTHING_ALLOWED = egress_policy(())

FORBIDDEN_ADDRESSES = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%1", "fec0::1", "ff02::1",
]  # fmt: skip

FORBIDDEN_URLS = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://LOCALHOST.:{port}/", "http://127.1:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/", "http://017700000001:{port}/", "http://127.0.0.1.:{port}/",
    "http://0:{port}/", "http://0.0.0.0:{port}/", "http://[::1]:{port}/", "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/", "http://[64:ff9b::7f00:1]:{port}/", "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/", "http://１２７.0.0.1:{port}/", "http://user:pw@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}@localhost:{port}/",
    "http://127.0.0.1:{port}\\@example.com/", "http://%31%32%37.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "file:///etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/", "unix:///var/run/docker.sock",
    "http://:{port}/", "http:///", "http://[::1/", "http://127.0.0.1:99999/", "http://169.254.169.254/latest/",
    "http://[fe80::1%25lo]:{port}/", "HTTP://LocalHost:{port}/", "",
]  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert NOTHING_ALLOWED.refuses_address(address, 443)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_reached_on_usual_ports_only(address: str) -> None:
    assert not NOTHING_ALLOWED.refuses_address(address, 443)
    assert not NOTHING_ALLOWED.refuses_address(address, 80)
    assert not NOTHING_ALLOWED.refuses_address(address, 8443)
    assert NOTHING_ALLOWED.refuses_address(address, 22)
    assert NOTHING_ALLOWED.refuses_address(address, 25)


def test_what_is_allowed_by_cidr_is_allowed_in_its_mapped_form_too_and_nothing_besides() -> None:
    policy = egress_policy(("10.1.0.0/16", "[fd00::1]", "192.168.7.7"))
    assert not policy.refuses_address("10.1.2.3", 25)
    assert not policy.refuses_address("::ffff:10.1.2.3", 80)
    assert not policy.refuses_address("fd00::1", 80)
    assert not policy.refuses_address("192.168.7.7", 80)
    assert policy.refuses_address("10.2.0.1", 80)
    assert policy.refuses_address("fd00::2", 80)
    assert policy.refuses_address("not an address", 80)


def test_hosts_are_allowed_by_their_whole_name() -> None:
    policy = egress_policy(("hooks.internal", "127.0.0.1"))
    assert policy.allows_host("Hooks.Internal.")
    assert not policy.allows_host("evil-hooks.internal")
    assert not policy.allows_host("hooks.internal.evil.com")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_all_forms_that_carry_it(address: Any) -> None:
    refused = NOTHING_ALLOWED.refuses_address(str(address), 443)
    assert NOTHING_ALLOWED.refuses_address(f"::ffff:{address}", 443) is refused
    assert NOTHING_ALLOWED.refuses_address(f"64:ff9b::{address}", 443) is refused
    assert NOTHING_ALLOWED.refuses_address(f"::{address}", 443)


@given(st.text(max_size=60))
def test_any_text_is_a_checked_url_or_refused_but_never_an_error(text: str) -> None:
    for url in (text, f"http://{text}/", f"https://{text}"):
        found = checked_url(url)
        assert isinstance(found, Failure) or found.scheme in ("http", "https")


def test_the_socket_itself_is_refused() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with pytest.raises(EgressDenied):
        guarded_socket(NOTHING_ALLOWED, info)


class Target:
    """A server on this host that must not be reached."""

    def __init__(self) -> None:
        self.reached = 0
        self.port = 0


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    seen = Target()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.reached += 1
        writer.close()

    server = await asyncio.start_server(serve, ["127.0.0.1", "::1"])
    seen.port = server.sockets[0].getsockname()[1]
    yield seen
    server.close()


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
async def test_no_spelling_of_a_forbidden_address_is_connected_to(url: str, target: Target) -> None:
    async with Sender(NOTHING_ALLOWED) as sender:
        answer = await sender.send(Request(url.format(port=target.port), (), b"{}"), 3000)
    assert isinstance(answer, Failure)
    # A name that this host's resolver makes nothing of is as harmless as one that is refused.
    assert answer.reason in ("egress_denied", "invalid_url", "credentials_in_url", "dns_failed")
    assert answer.final or answer.reason == "dns_failed"
    assert target.reached == 0


class Rebinding(AbstractResolver):
    """A name server that says a public address first and this host's afterwards."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def test_a_name_that_comes_to_mean_this_host_is_refused_at_the_connection(target: Target) -> None:
    connector = aiohttp.TCPConnector(
        resolver=Rebinding(), socket_factory=lambda info: guarded_socket(NOTHING_ALLOWED, info)
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get(f"http://hooks.example.com:{target.port}/")
    assert isinstance(raised.value.os_error, EgressDenied)
    assert target.reached == 0


async def test_a_redirect_is_an_answer_and_not_followed(target: Target) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"http://127.0.0.1:{target.port}/"})

    app = web.Application()
    app.router.add_post("/", redirect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with Sender(egress_policy(("127.0.0.0/8",))) as sender:
        answer = await sender.send(Request(f"http://127.0.0.1:{runner.addresses[0][1]}/", (), b"{}"))
    await runner.cleanup()
    assert isinstance(answer, Answer)
    assert answer.status == 302
    assert target.reached == 0


async def test_a_proxy_of_the_environment_is_not_used(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{target.port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{target.port}")
    async with Sender(egress_policy(("127.0.0.0/8",))) as sender:
        answer = await sender.send(Request("http://10.0.0.1:8080/", (), b"{}"), 2000)
    assert answer == Failure("egress_denied", final=True)
    assert target.reached == 0
