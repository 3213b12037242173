"""The address of a Triton as people write it."""

from __future__ import annotations

from urllib.parse import urlsplit

from harness.schema.errors import InputError


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
