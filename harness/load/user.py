"""A Locust user that speaks Triton's protocols over prepared bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from locust import User

from harness.address import Address
from harness.load.endpoint import Endpoint, parsed_host
from harness.load.process.reasons import Reasons
from harness.load.wire import Connection, Reply, Tls
from harness.load.wire.grpc.grpc_channel import Channels
from harness.schema.errors import InputError
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors

_reasons = Reasons()
"""Locust keeps a failure for each text that it was told, in every process."""


class RequestFailed(Exception):
    """What Locust shows in its list of failures."""


class Report:
    """Fires Locust's `request` event, with the time from `since_ns` to the reply's completion."""

    def __init__(self, environment: Any, protocol: Protocol) -> None:
        self._fire = environment.events.request.fire
        self._kind = "gRPC" if protocol == "grpc" else "HTTP"

    def __call__(self, name: str, since_ns: int, reply: Reply) -> None:
        self._fire(
            request_type=self._kind,
            name=name,
            response_time=(reply.completed_ns - since_ns) / 1e6,
            response_length=reply.received_bytes,
            response=reply,
            exception=None if reply.reason is None else RequestFailed(_reasons.kept(reply.reason)),
            context={},
        )


class TritonUser(User):  # type: ignore[misc]  # locust is untyped
    """The base of a locustfile's users. Each call is one request in Locust's statistics, UI and CSV.

    ::

        class Sentences(TritonUser):
            model = "minilm"
            protocol = "grpc"

            def on_start(self):
                ids = np.ones((1, 16), np.int64)
                self.short = self.prepare({"input_ids": ids, "attention_mask": ids})

            @task
            def one_sentence(self):
                self.send(self.short, name="short")

    and ``locust -f sentences.py --host 127.0.0.1:8001``. A request that is prepared once, as here, costs the
    client a small part of one that `infer` builds each time.
    """

    abstract = True
    protocol: Protocol = "http"
    model: str = ""
    """The model's name in Triton's repository."""
    outputs: Sequence[str] = ()
    """The outputs to ask for; none means all."""
    tls: Tls | None = None
    """How a gRPC endpoint speaks TLS, where it does: `Tls(ca="ca.pem")`."""
    timeout_s: float = 30.0
    """Bounds each call, connecting included."""
    channels: Channels | None = Channels()
    """Over gRPC, up to six users share a connection, as in Triton's own clients; None: each has its own."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.report = Report(environment, self.protocol)
        self._connection: Connection | None = None

    @property
    def address(self) -> Address:
        """From Locust's `--host` or the class's `host`. Raises InputError."""
        return parsed_host(self.host)

    @property
    def endpoint(self) -> Endpoint:
        """Where requests are sent. Raises InputError where `host` is no address."""
        host, port = self.address
        return Endpoint(protocol=self.protocol, host=host, port=port, timeout_s=self.timeout_s, tls=self.tls)

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = self.new_connection()
        return self._connection

    def new_connection(self) -> Connection:
        return self.endpoint.open(self.channels)

    def prepare(self, inputs: Tensors) -> bytes:
        """The bytes of a request, to be sent any number of times."""
        if not self.model:
            raise InputError(f"{type(self).__name__} has no `model`: set it to the model's name in Triton")
        return self.endpoint.prepare(self.model, inputs, self.outputs)

    def send(self, prepared: bytes | memoryview, name: str | None = None, keep_body: bool = False) -> Reply:
        """Send prepared bytes and report the request to Locust as `name` (else the model's name)."""
        reply = self.connection.call(prepared, keep_body)
        self.report(name or self.model, reply.sent_ns, reply)
        return reply

    def infer(self, inputs: Tensors, name: str | None = None) -> Tensors | None:
        """Build a request, send it and give its outputs; None where it failed, which Locust then counts."""
        reply = self.send(self.prepare(inputs), name, keep_body=True)
        return None if reply.body is None else self.connection.decode(reply)

    def on_stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
