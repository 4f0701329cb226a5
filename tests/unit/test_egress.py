"""Where actions can't be made to connect to, however it is spelled."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from actions.exchange import Answer, Failure, Request
from actions.transport.egress import EgressDenied, checked_url, egress_policy, guarded_socket
from actions.transport.sender import Sender
from tests.unit.egress_forms import FORMS

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


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert NOTHING_ALLOWED.refusal(address, 443) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is_reached_on_usual_ports_only(address: str) -> None:
    assert NOTHING_ALLOWED.refusal(address, 443) is None
    assert NOTHING_ALLOWED.refusal(address, 80) is None
    assert NOTHING_ALLOWED.refusal(address, 8443) is None
    assert NOTHING_ALLOWED.refusal(address, 22) is not None
    assert NOTHING_ALLOWED.refusal(address, 25) is not None


def test_what_is_allowed_by_cidr_is_allowed_in_its_mapped_form_too_and_nothing_besides() -> None:
    policy = egress_policy(("10.1.0.0/16", "[fd00::1]", "192.168.7.7"))
    assert policy.refusal("10.1.2.3", 25) is None
    assert policy.refusal("::ffff:10.1.2.3", 80) is None
    assert policy.refusal("fd00::1", 80) is None
    assert policy.refusal("192.168.7.7", 80) is None
    assert policy.refusal("10.2.0.1", 80) is not None
    assert policy.refusal("fd00::2", 80) is not None
    assert policy.refusal("not an address", 80) is not None


def test_hosts_are_allowed_by_their_whole_name() -> None:
    policy = egress_policy(("hooks.internal", "127.0.0.1"))
    assert policy.allows_host("Hooks.Internal.", 80)
    assert not policy.allows_host("evil-hooks.internal", 80)
    assert not policy.allows_host("hooks.internal.evil.com", 80)


def test_hosts_are_allowed_for_one_port_or_with_all_names_below_them_where_it_says_so() -> None:
    policy = egress_policy(("one.internal:8080", "*.svc.local", "*.db.local:5432"))
    assert policy.allows_host("one.internal", 8080)
    assert not policy.allows_host("one.internal", 8081)
    assert policy.allows_host("a.b.svc.local", 22)
    assert not policy.allows_host("svc.local", 80)
    assert not policy.allows_host("evilsvc.local", 80)
    assert policy.allows_host("x.db.local", 5432)
    assert not policy.allows_host("x.db.local", 80)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_all_forms_that_carry_it(address: Any) -> None:
    refused = NOTHING_ALLOWED.refusal(str(address), 443)
    assert NOTHING_ALLOWED.refusal(f"::ffff:{address}", 443) == refused
    assert NOTHING_ALLOWED.refusal(f"64:ff9b::{address}", 443) == refused
    assert NOTHING_ALLOWED.refusal(f"::{address}", 443) is not None


@given(st.ip_addresses())
def test_no_address_that_the_standard_library_knows_as_not_global_is_reached(address: Any) -> None:
    """Nor one in IPv6 that was given to nobody."""
    ipv4 = address.version == 6 and (address.ipv4_mapped or address in ip_network("64:ff9b::/96"))
    unassigned = address.version == 6 and address not in ip_network("2000::/3")
    if not ipv4 and (not address.is_global or address.is_multicast or unassigned):
        assert NOTHING_ALLOWED.refusal(str(address), 443) is not None


@given(st.text(max_size=60))
def test_any_text_is_a_checked_url_or_refused_but_never_an_error(text: str) -> None:
    for url in (text, f"http://{text}/", f"https://{text}"):
        found = checked_url(url)
        assert isinstance(found, Failure) or found.scheme in ("http", "https")


def test_the_socket_itself_is_refused() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with pytest.raises(EgressDenied) as raised:
        guarded_socket(NOTHING_ALLOWED, info)
    assert raised.value.reason == "loopback"
    assert "127.0.0.1" not in str(raised.value)


class Target:
    """A server on this host that must not be reached, and one next to it that may be."""

    def __init__(self) -> None:
        self.reached = 0
        self.port = 0
        self.allowed = 0


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    seen = Target()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.reached += 1
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.allowed += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, ["127.0.0.1", "::1"] if socket.has_ipv6 else "127.0.0.1")
    seen.port = server.sockets[0].getsockname()[1]
    other = await asyncio.start_server(serve, "127.0.0.2", seen.port)
    yield seen
    server.close()
    other.close()


@pytest.mark.parametrize(("url", "what", "reason"), FORMS, ids=[form[0] for form in FORMS])
async def test_no_spelling_of_a_forbidden_address_is_connected_to(
    url: str, what: str, reason: str, target: Target
) -> None:
    """The delivery is dead at once, and its result says why."""
    async with Sender(NOTHING_ALLOWED) as sender:
        answer = await sender.send(Request(url.replace("8080", str(target.port)), (), b"{}"), 3000)
    assert answer == Failure(reason, final=True)
    assert target.reached == 0


def test_the_documents_list_the_same_forms() -> None:
    rows = ["| address | what it is | the result says |", "|---|---|---|"]
    rows += [f"| `{url}` | {what} | `{reason}` |" for url, what, reason in FORMS]
    page = (Path(__file__).parents[2] / "docs/egress.md").read_text()
    found = re.search(r"<!-- forms -->\n(.*?)\n<!-- /forms -->", page, re.S)
    assert found is not None
    assert found.group(1) == "\n".join(rows)
    for reason in sorted({reason.removeprefix("egress_denied: ") for _, _, reason in FORMS}):
        assert f"`{reason}`" in page, f"docs/egress.md doesn't explain {reason}"


class NameServer(AbstractResolver):
    """Says these addresses, one list a question, the last one ever after."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0) for one in said
        ]

    async def close(self) -> None:
        pass


ALLOWED = egress_policy(("127.0.0.2",))


async def test_a_name_that_comes_to_mean_this_host_is_refused_at_the_connection(target: Target) -> None:
    """Rebinding: the name means an address that may be reached when it is looked at, and another one later."""
    names = NameServer(["127.0.0.2"], ["127.0.0.1"])
    request = Request(f"http://hooks.example.com:{target.port}/", (), b"{}")
    answers = []
    for _ in range(2):
        # A sender remembers addresses for seconds; another one asks again.
        async with Sender(ALLOWED, resolver=names) as sender:
            answers.append(await sender.send(request, 3000))
    assert answers == [Answer(200), Failure("egress_denied: loopback", final=True)]
    assert (target.allowed, target.reached) == (1, 0)


async def test_of_a_name_s_addresses_those_that_are_forbidden_are_passed_over(target: Target) -> None:
    request = Request(f"http://hooks.example.com:{target.port}/", (), b"{}")
    async with Sender(ALLOWED, resolver=NameServer(["127.0.0.1", "127.0.0.2"])) as sender:
        assert await sender.send(request, 3000) == Answer(200)
    async with Sender(ALLOWED, resolver=NameServer(["127.0.0.1", "127.0.0.3", "127.0.0.4"])) as sender:
        assert await sender.send(request, 3000) == Failure("egress_denied: loopback", final=True)
    assert (target.allowed, target.reached) == (1, 0)


async def test_what_the_operator_set_passes_and_what_an_action_says_does_not_profit_by_it(target: Target) -> None:
    """A service's address in the settings may be private; its connection is no way in for an action's URL."""
    url = f"http://127.0.0.2:{target.port}/"
    async with Sender(NOTHING_ALLOWED) as sender:
        assert await sender.send(Request(url, (), b"{}", trusted=True), 3000) == Answer(200)
        assert await sender.send(Request(url, (), b"{}"), 3000) == Failure("egress_denied: loopback", final=True)


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
    assert answer == Failure("egress_denied: private", final=True)
    assert target.reached == 0
