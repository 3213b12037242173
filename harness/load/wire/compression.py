"""A request's bytes, compressed as both wires name it."""

from __future__ import annotations

import gzip
import zlib

from harness.schema.scenario import Compression


def compressed(how: Compression, data: bytes) -> bytes:
    """`gzip`, or `deflate`, which is zlib's format over HTTP and over gRPC (RFC 9110, 8.4.1.2; gRPC's
    "Compression")."""
    return gzip.compress(data, mtime=0) if how == "gzip" else zlib.compress(data)
