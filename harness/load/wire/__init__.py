"""Requests whose bytes are made once and sent many times, over HTTP/1.1 and gRPC.

Building a request in Python costs more than sending it, so a client that builds each one measures itself.
Here `prepare` builds the bytes beforehand, with tritonclient's own functions, and a `Connection` sends them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.load.wire.connection import Connection, Reply
from harness.schema.scenario import Compression, Protocol
from harness.schema.tensors import Tensors
from harness.tls import Tls

if TYPE_CHECKING:
    from harness.load.wire.grpc.grpc_channel import Channels

__all__ = ["Connection", "Reply", "Tls", "open_connection", "prepare"]


def prepare(
    protocol: Protocol,
    model: str,
    inputs: Tensors,
    outputs: Sequence[str],
    host: str,
    *,
    version: str = "",
    prefix: str = "",
    parameters: Mapping[str, Any] | None = None,
    compression: Compression | None = None,
) -> bytes:
    """The bytes that `Connection.call` of this protocol sends; `host` is "name:port".

    `version` of the model, "" for the server's choice; `prefix` of HTTP's path; `parameters` that a
    backend may read.
    """
    from harness.load.wire import http
    from harness.load.wire.grpc import grpc_messages

    if protocol == "http":
        return http.prepare(
            model,
            inputs,
            outputs,
            host,
            version=version,
            prefix=prefix,
            parameters=parameters,
            compression=compression,
        )
    return grpc_messages.prepare(
        model, inputs, outputs, version=version, parameters=parameters, compression=compression
    )


def open_connection(
    protocol: Protocol,
    host: str,
    port: int,
    timeout_s: float,
    tls: Tls | None = None,
    channels: Channels | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    compression: Compression | None = None,
    at: str | None = None,
) -> Connection:
    """A connection of this protocol; nothing is sent before its first `connect` or `call`.

    `headers` go with every request, and `compression` is that of what was prepared; `at` is which of the
    host's numbers is meant, where it has several. Over gRPC it is one of the users of a shared channel, where
    `channels` are given. Raises InputError for TLS that can't be had.
    """
    from harness.load.wire import http
    from harness.load.wire.grpc import grpc_channel
    from harness.load.wire.grpc import grpc_connection as grpc

    if protocol == "http":
        return http.HttpConnection(host, port, timeout_s, tls, headers, at)
    channel = (channels or grpc_channel.Channels()).join(host, port, tls, headers, compression, at)
    return grpc.GrpcConnection(channel, timeout_s)
