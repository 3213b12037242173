"""Addresses, as people write them and as sockets take them: a host and a port, IPv6 in brackets.

Hosts are names or numbers. An IPv6 number stands without brackets where a socket takes it, and with them
wherever a port follows (RFC 3986, section 3.2.2); it may have a zone, as in fe80::1%eth0 (RFC 4007), which a
URL may write as fe80::1%25eth0 (RFC 6874).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import NamedTuple, Self

from harness.schema.errors import InputError

LOOPBACK = "127.0.0.1"

_ADDRESS = re.compile(r"(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([\w.-]+))(?::([0-9]{1,5}))?", re.ASCII)
_ZONE = re.compile(r"(?<=[0-9a-fA-F:])%25(?=[\w.-]*[A-Za-z][\w.-]*\])", re.ASCII)
"""Before a zone with a name; %250 is the interface with that number, as people write it."""
_URL = re.compile(r"(?:([a-zA-Z][a-zA-Z0-9+.-]*)://)?([^/?#]*)(.*)")


class Address(NamedTuple):
    """Where something listens. `str` of it is what `parse` reads."""

    host: str
    """A name, or a number without brackets; in lower case, but for an IPv6 zone."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """The address in "host:port", or "host" where there is a `default_port`.

        Raises ValueError for anything else: a user, a path, a blank, an IPv6 number without its brackets.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise ValueError("it is no host:port")
        six, name, digits = found.groups()
        if six is not None:
            number, percent, zone = six.partition("%")
            host = str(ipaddress.IPv6Address(number)) + percent + zone
        else:
            host = name.lower()
        port = default_port if digits is None else int(digits)
        if port is None or port >= 1 << 16:
            raise ValueError("it has no port" if port is None else f"there is no port {port}")
        return cls(host, port)


class Url(NamedTuple):
    """An address with the scheme before it and the path after it, each of them perhaps empty."""

    scheme: str
    address: Address
    path: str
    """And the query."""

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Self:
        """Raises ValueError as `Address.parse`, and for blanks, control characters and fragments."""
        found = _URL.fullmatch(text)
        if found is None or not text.isprintable() or " " in text or "#" in text:
            raise ValueError("it is no URL")
        scheme, address, path = found.groups(default="")
        return cls(scheme.lower(), Address.parse(_ZONE.sub("%", address), default_port), path)


def host_of(url: str) -> str:
    """The host in a URL or in "host:port"; empty where it is neither, as what was sent may be."""
    with suppress(ValueError):
        return Url.parse(url, 0).address.host
    return ""


def of_option(option: str, text: str, default_port: int) -> Address:
    """The address that a user gave with `option`: "host" or "host:port". Raises InputError."""
    with suppress(ValueError):
        return Address.parse(text, default_port)
    raise InputError(f"{option} {text!r} is no address: give it as host or host:port")


def to_listen_on(option: str, text: str) -> Address:
    """The address that a user gave with `option`: "port", on loopback, or "host:port". Raises InputError."""
    with suppress(ValueError):
        return Address.parse(text if ":" in text else f"{LOOPBACK}:{text}")
    raise InputError(f"{option} {text!r} is no address to listen on: give it as port or host:port")


def is_unix(host: str) -> bool:
    """Whether it is the path of a Unix socket, and no host."""
    return host.startswith("/")


def numbers_of(host: str) -> tuple[str, ...]:
    """The numbers of a name, of IPv4 or, where it has none there, of IPv6: a name on both has one server.

    Empty for a number, a name that can't be resolved, and this machine's own.
    """
    if not host or number(host) is not None or host == "localhost":
        return ()
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        for family in (socket.AF_INET, socket.AF_INET6):
            if numbers := dict.fromkeys(str(each[4][0]) for each in found if each[0] is family):
                return tuple(numbers)
    return ()


def number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The number that `host` is, without its zone; None where it is a name.

    An IPv4 number in IPv6's clothes (::ffff:10.0.0.5) is that IPv4 number.
    """
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    found = number(host)
    return host == "localhost" if found is None else found.is_loopback


def is_here(host: str) -> bool:
    """Whether `host` is this machine's, by name or number: only such can be bound to."""
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as tried:
                tried.bind(found)
                return True
    return False


def reachable(host: str) -> str:
    """What other machines call the address that something here listens on: of all addresses, the name."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host


def numeric(host: str, port: int) -> tuple[socket.AddressFamily, Address]:
    """The family and the number of `host`, to listen there. Raises OSError for a name without one."""
    try:
        family, _, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:
        raise OSError(f"{host!r} can't be a host's name") from error
    zone = f"%{found[3]}" if len(found) == 4 and found[3] else ""
    return family, Address(f"{found[0]}{zone}", port)
