"""How far ends are trusted, and how this one shows who it is.

Law: a certificate is always verified, by the system's authorities and those of ``TLS_CA_FILE``; TLS 1.2 is the
least.
"""

import ssl
from pathlib import Path
from typing import NamedTuple

from topology.setting_errors import SettingError
from topology.settings import Settings


class TlsFiles(NamedTuple):
    """PEM files: further authorities, and the client's certificate with its key (which may be in the same file)."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


def tls_files(settings: Settings) -> TlsFiles:
    """The files of the settings."""
    return TlsFiles(settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """What connections are made with. Raises ``SettingError`` for files that can't be used."""
    context = ssl.create_default_context()
    if files.ca is not None:
        _readable("TLS_CA_FILE", files.ca)
        try:
            context.load_verify_locations(cafile=files.ca)
        except (OSError, ValueError):
            raise SettingError(f"TLS_CA_FILE={files.ca}: holds no certificate in PEM form") from None
    if files.certificate is not None:
        _load_certificate(context, files.certificate, files.key)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    _readable("TLS_CERT_FILE", certificate)
    if key is not None:
        _readable("TLS_KEY_FILE", key)
    try:
        # A key with a passphrase must be an error, not a question on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError):
        held = "TLS_KEY_FILE" if key is not None else "the same file"
        raise SettingError(
            f"TLS_CERT_FILE={certificate}: must hold a certificate in PEM form, and {held} its key without passphrase"
        ) from None


def _readable(variable: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise SettingError(f"{variable}={path}: {error.strerror}: name a file that can be read") from None
