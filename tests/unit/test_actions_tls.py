"""Whom actions trust, and how they show who they are, with real handshakes."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from actions.exchange import Answer, Failure, Mail, MailAnswer, Reply, Request
from actions.secrets import SecretStore
from actions.transport.tls import TlsFiles, client_context
from actions.transport.transport import transport_of
from tests.doubles.smtp_server import SmtpServer
from topology.settings import SettingError, Settings

AUTHORITY = trustme.CA()
CLIENT = AUTHORITY.issue_cert("runner@sender.test")


@asynccontextmanager
async def https(*, demands_client: bool) -> AsyncIterator[str]:
    """A server that says who its client is by the client's certificate."""

    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        shown = request.transport.get_extra_info("peercert")
        return web.Response(text="known" if shown else "unknown")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    if demands_client:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


def settings(**env: str) -> Settings:
    return Settings.from_env({"BOOTSTRAP_SERVERS": "kafka:9092", "EGRESS_ALLOW": "127.0.0.0/8,::1", **env})


async def post(url: str, **env: str) -> Reply:
    async with transport_of(settings(**env), SecretStore(None, {})) as transport:
        return await transport.send(Request(url, (), b"{}"), 3_000)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    CLIENT.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    CLIENT.private_key_pem.write_to_path(tmp_path / "key.pem")
    CLIENT.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    AUTHORITY.issue_cert("other.test").private_key_pem.write_to_path(tmp_path / "other-key.pem")
    (tmp_path / "text.pem").write_text("no certificate\n")
    return tmp_path


async def test_an_authority_of_ones_own_is_trusted_only_where_its_file_is_named(files: Path) -> None:
    async with https(demands_client=False) as url:
        assert await post(url) == Failure("certificate_invalid")
        assert await post(url, TLS_CA_FILE=str(files / "ca.pem")) == Answer(200, b"unknown")
        address = url.replace("localhost", "127.0.0.2")
        assert isinstance(await post(address, TLS_CA_FILE=str(files / "ca.pem")), Failure)


def test_the_system_s_authorities_stay_trusted_besides(files: Path) -> None:
    system = {bytes(one) for one in client_context(TlsFiles()).get_ca_certs(binary_form=True)}
    both = {bytes(one) for one in client_context(TlsFiles(str(files / "ca.pem"))).get_ca_certs(binary_form=True)}
    assert system < both
    assert len(both) == len(system) + 1


async def test_a_server_that_demands_a_certificate_is_shown_one(files: Path) -> None:
    ca = str(files / "ca.pem")
    async with https(demands_client=True) as url:
        refused = await post(url, TLS_CA_FILE=ca)
        assert isinstance(refused, Failure)
        # Some servers close the connection before what they say about it is read.
        assert refused.reason in ("tls_failed", "connection_failed")
        assert not refused.final
        assert await post(url, TLS_CA_FILE=ca, TLS_CERT_FILE=str(files / "both.pem")) == Answer(200, b"known")
        separate = {"TLS_CERT_FILE": str(files / "cert.pem"), "TLS_KEY_FILE": str(files / "key.pem")}
        assert await post(url, TLS_CA_FILE=ca, **separate) == Answer(200, b"known")


async def test_mail_goes_by_the_same_authorities_with_the_operators_secret(files: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    folder = files / "secrets"
    folder.mkdir()
    (folder / "MAIL").write_text("right\n")
    async with SmtpServer(context, users={"lab": "right"}) as server:
        env = {
            "SMTP_HOST": "localhost", "SMTP_PORT": str(server.port), "SMTP_USERNAME": "lab",
            "SMTP_PASSWORD_SECRET": "MAIL", "TLS_CA_FILE": str(files / "ca.pem"),
        }  # fmt: skip
        message = (
            b"From: a@x.test\r\nTo: b@x.test\r\nDate: Wed, 01 Jul 2026 12:00:00 +0000\r\n"
            b"Message-ID: <d@x.test>\r\nSubject: s\r\n\r\nhello\r\n"
        )
        async with transport_of(settings(**env), SecretStore(str(folder), {})) as transport:
            assert await transport.send(Mail("a@x.test", ("b@x.test",), message)) == MailAnswer({})
    assert (server.taken[0].encrypted, server.taken[0].user) == (True, "lab")


async def test_without_a_mail_server_a_mail_is_waited_with() -> None:
    async with transport_of(settings(), SecretStore(None, {})) as transport:
        assert await transport.send(Mail("a@x.test", ("b@x.test",), b"")) == Failure("smtp_host_missing")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"TLS_CA_FILE": "none.pem"}, "TLS_CA_FILE={folder}/none.pem: No such file"),
        ({"TLS_CA_FILE": "text.pem"}, "TLS_CA_FILE={folder}/text.pem: holds no certificate in PEM form"),
        ({"TLS_CA_FILE": "."}, "TLS_CA_FILE={folder}/.: Is a directory"),
        ({"TLS_CERT_FILE": "cert.pem"}, "TLS_CERT_FILE={folder}/cert.pem: must hold a certificate"),
        ({"TLS_CERT_FILE": "text.pem", "TLS_KEY_FILE": "key.pem"}, "TLS_CERT_FILE={folder}/text.pem: must hold"),
        ({"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "other-key.pem"}, "and TLS_KEY_FILE its key"),
        ({"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "gone.pem"}, "TLS_KEY_FILE={folder}/gone.pem: No such file"),
        ({"TLS_CERT_FILE": "cert.pem", "TLS_KEY_FILE": "locked.pem"}, "its key without passphrase"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line_before_anything_is_sent(
    files: Path, env: dict[str, str], told: str
) -> None:
    """Nobody is asked for a passphrase, and no key is shown."""
    (files / "locked.pem").write_bytes(_locked_key())
    with pytest.raises(SettingError) as raised:
        transport_of(settings(**{name: f"{files}/{file}" for name, file in env.items()}), SecretStore(None, {}))
    line = str(raised.value)
    assert told.format(folder=files) in line
    assert "\n" not in line
    assert "PRIVATE" not in line


def _locked_key() -> bytes:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - for this test alone
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(CLIENT.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
