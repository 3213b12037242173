"""The address of a Triton as people write it."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from harness.schema.errors import InputError

LOOPBACK = "127.0.0.1"
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+(%\w+)?")
LOCUST_PORT = 5557
"""Locust's own, for its master."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable(host: str) -> str:
    """What other machines call the address that something here listens on: of all addresses, the name."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host


def parsed_master(text: str, option: str = "--master") -> tuple[str, int]:
    """("10.0.0.5", 5557) of "10.0.0.5" and "10.0.0.5:5557"; IPv6 stands in brackets. Raises InputError."""
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.netloc == text and "@" not in text and _HOST.fullmatch(parts.hostname):
            return parts.hostname, parts.port or LOCUST_PORT
    except ValueError:
        pass
    raise InputError(f"{option} {text!r} is no address: give it as host or host:port")


def parsed_address(host: str | None) -> tuple[str, int]:
    """("127.0.0.1", 8000) of "http://127.0.0.1:8000", "grpc://127.0.0.1:8000" and "127.0.0.1:8000"."""
    text = host or ""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        if parts.hostname and parts.port and parts.scheme in ("", "http", "grpc"):
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise InputError(f"--host {text!r} is no address of a Triton: give name:port, without TLS")
