"""TLS of an endpoint, as a user describes it. `harness.load.wire.tls_stream` speaks it."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from harness.schema.errors import InputError
from harness.schema.frozen import Frozen


class Tls(Frozen):
    """Whom to trust, and who we are. The server is always verified, its name or address too. PEM files."""

    ca: str | None = None
    """Certificates that sign the server's; None: those that the system trusts."""
    certificate: str | None = None
    """Ours, where the server asks for one (mutual TLS)."""
    key: str | None = None
    """The private key of `certificate`; None: it is in the same file."""

    def check(self) -> None:
        """Raises InputError for files that can't be used."""
        context_of(self)


OPTIONS = {"h2": "--grpc", "http/1.1": "--http"}
"""How the options of each protocol begin, by its name in TLS (ALPN)."""


@lru_cache
def context_of(tls: Tls, protocol: str = "h2") -> ssl.SSLContext:
    """For clients of `protocol`, one of OPTIONS. Raises InputError for files that can't be used."""
    for path in (tls.ca, tls.certificate, tls.key):
        try:
            if path is not None:
                Path(path).read_bytes()
        except OSError as error:
            raise InputError(f"{path} can't be read ({error.strerror}): give a PEM file") from error
    if tls.key is not None and tls.certificate is None:
        raise InputError(f"{tls.key} is a key without its certificate: give {OPTIONS[protocol]}-cert too")
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca)
    except (ssl.SSLError, ValueError) as error:
        raise InputError(f"{tls.ca} holds no certificate: give the server's CA as a PEM file") from error
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{tls.certificate} and {tls.key or 'the key in it'} are no certificate with its unencrypted "
                "key: give both as PEM files that belong together"
            ) from error
    context.set_alpn_protocols([protocol])
    return context


def _no_password() -> str:
    """Else OpenSSL would ask the terminal for one."""
    raise ValueError("the key is encrypted")
