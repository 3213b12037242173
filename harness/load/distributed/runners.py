"""Locust's master and worker behind a door: what comes in is what their protocol has, the rest is dropped.

Locust's own listeners end at the first message that they don't expect, and some of their words do what no
run needs (hand out files, set attributes). Here a message has a known word, the shape that belongs to it and
its sender's name, before Locust sees it. Workers of this machine come by a Unix socket in a folder that is
only their user's; those of other machines by TCP, with a secret where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import gevent
import locust.runners
import msgpack
import zmq
from locust.env import Environment
from locust.exception import RPCError
from locust.rpc import Message
from locust.rpc.zmqrpc import BaseSocket
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import RequestStats
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict
from zmq.utils.monitor import parse_monitor_message

from harness.load.distributed.messages import CHUNK, TYPE
from harness.load.distributed.secret import Secret

_MESSAGE_BYTES = CHUNK + (1 << 16)
_QUEUED = 128
"""Messages that wait at either end of a connection: twice what may be in flight of a file, and more."""
_HANDSHAKE_MS = 10_000
_WORKERS = 1024
"""Names that a master has heard of; each may be a load process that waits for the next point."""
_USERS = 1 << 16
"""The most users that one load process says it has."""

_exact = with_config(ConfigDict(strict=True, extra="forbid"))
_Number = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
_Users = dict[Literal["PlannedUser"], Annotated[int, Field(ge=0, le=_USERS)]]


@_exact
class _Heartbeat(TypedDict):
    state: Literal["ready", "spawning", "running", "cleanup", "stopping", "stopped", "missing"]
    current_cpu_usage: _Number
    current_memory_usage: _Number


@_exact
class _Spawned(TypedDict):
    user_classes_count: _Users
    user_count: Annotated[int, Field(ge=0, le=_USERS)]


@with_config(ConfigDict(strict=True, extra="ignore"))
class _Spawn(TypedDict):
    timestamp: _Number
    user_classes_count: Annotated[_Users, Field(min_length=1)]


@_exact
class _Index(TypedDict):
    index: Annotated[int, Field(ge=0, lt=1 << 31)]


@_exact
class _AllSpawned(TypedDict):
    user_count: Annotated[int, Field(ge=0, le=1 << 31)]


_Shape = TypeAdapter[Any]
_NOTHING: _Shape = TypeAdapter(None)
_ANYTHING: _Shape = TypeAdapter(Any)
"""Harness's own words have a door of their own; what is nobody's is not looked at."""
_FROM_WORKERS: dict[str, _Shape] = {
    TYPE: _ANYTHING,
    "client_ready": TypeAdapter(Annotated[str, Field(min_length=1, max_length=40)]),
    "client_stopped": _NOTHING,
    "heartbeat": TypeAdapter(_Heartbeat),
    "spawning": _NOTHING,
    "spawning_complete": TypeAdapter(_Spawned),
    "quit": _NOTHING,
    "stats": _ANYTHING,
    "logs": _ANYTHING,
    "exception": _ANYTHING,
}
_UNREAD = ("stats", "logs", "exception")
"""Locust would sum them up for a page that a run hasn't."""
_FROM_MASTER: dict[str, _Shape] = {
    TYPE: _ANYTHING,
    "ack": TypeAdapter(_Index),
    "spawn": TypeAdapter(_Spawn),
    "spawning_complete": TypeAdapter(_AllSpawned),
    "heartbeat": _NOTHING,
    "reconnect": _NOTHING,
    "stop": _NOTHING,
    "quit": _NOTHING,
}


def unpacked(text: bytes, words: dict[str, _Shape]) -> Message | None:
    """The message that `text` is; None where it is none of `words`, or has another shape."""
    try:
        kind, data, sender = msgpack.unpackb(text, strict_map_key=False)
        if isinstance(kind, str) and isinstance(sender, str | None) and kind in words:
            return Message(kind, words[kind].validate_python(data), sender)
    except (ValueError, TypeError, ValidationError, OverflowError):
        pass
    return None


class _Socket(BaseSocket):  # type: ignore[misc]  # locust is untyped
    dropped = 0
    """Messages that were none."""

    def __init__(self, kind: int, *, ipv4_only: bool) -> None:
        super().__init__(kind, ipv4_only)
        self.socket.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
        self.socket.setsockopt(zmq.RCVHWM, _QUEUED)

    def _parts(self) -> list[bytes]:
        try:
            parts: list[bytes] = self.socket.recv_multipart()
        except zmq.ZMQError as error:
            raise RPCError("ZMQ network broken") from error
        gevent.sleep(0)  # whoever sends without end has the listener's time, and nobody else's
        return parts


class Server(_Socket):
    """A master's, at a Unix socket: `harness.load.distributed.front_door` has one on a network."""

    def __init__(self, path: str, secret: Secret | None) -> None:
        super().__init__(zmq.ROUTER, ipv4_only=True)
        self.socket.setsockopt(zmq.SNDHWM, _QUEUED)
        if secret is not None:
            secret.guard(self.socket)
        self.unproven = 0
        """Connections that didn't show that they know the secret."""
        gevent.spawn(_count_failures, self.socket.get_monitor_socket(_FAILURES), self._unproven)
        self.socket.bind(f"ipc://{path}")

    def _unproven(self) -> None:
        self.unproven += 1

    def recv_from_client(self) -> tuple[str, Message]:
        while True:
            parts = self._parts()
            message = unpacked(parts[1], _FROM_WORKERS) if len(parts) == 2 else None
            # A name that is its own: nobody speaks for another.
            if message is not None and message.node_id is not None and message.node_id.encode() == parts[0]:
                return message.node_id, message
            self.dropped += 1


class Client(_Socket):
    """A worker's, to a master at an address as ZeroMQ has it. `unproven` is called where it isn't let in."""

    def __init__(
        self, address: str, identity: str, secret: Secret | None, unproven: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(zmq.DEALER, ipv4_only=False)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        if secret is not None:
            secret.prove(self.socket)
        gevent.spawn(_count_failures, self.socket.get_monitor_socket(_FAILURES), unproven)
        self.socket.connect(address)

    def recv(self) -> Message:
        while True:
            parts = self._parts()
            if len(parts) == 1 and (message := unpacked(parts[0], _FROM_MASTER)) is not None:
                return message
            self.dropped += 1


_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def _count_failures(monitor: Any, failed: Callable[[], None]) -> None:
    while True:
        try:
            parse_monitor_message(monitor.recv_multipart())
        except zmq.ZMQError:  # its socket is closed
            return
        failed()


class _Sockets:
    """Stands where Locust's runners look for `Server` and `Client`."""

    def __init__(self, address: str, secret: Secret | None, unproven: Callable[[], None]) -> None:
        self._address, self._secret, self._unproven = address, secret, unproven

    def Server(self, *_: Any) -> Server:
        return Server(self._address, self._secret)

    def Client(self, _host: str, _port: int, identity: str) -> Client:
        return Client(self._address, identity, self._secret, self._unproven)


class GuardedMaster(MasterRunner):  # type: ignore[misc]
    dropped = 0
    """Messages of those that are one too many."""

    def admit(self, client_id: str) -> None:
        """Let it have users, whether or not its word to Locust has come: a master before this one, at its
        end, may have taken that, and the worker says it only once."""
        if client_id not in self.clients:
            self.handle_message(client_id, Message("client_ready", -1, client_id))

    def handle_message(self, client_id: str, msg: Message) -> None:
        known = client_id in self.clients
        if msg.type in _UNREAD or not (known or msg.type in ("client_ready", TYPE)):
            return
        # Locust numbers whoever says anything, and keeps the number.
        if client_id not in self.worker_indexes and len(self.worker_indexes) >= _WORKERS:
            self.dropped += 1
            return
        if msg.type == "client_ready":
            # Harness compares versions itself, and Locust would write a line for each.
            msg = Message(msg.type, -1, client_id)
        super().handle_message(client_id, msg)


class GuardedWorker(WorkerRunner):  # type: ignore[misc]
    def handle_message(self, msg: Message) -> None:
        if msg.type == "spawn":
            if {each.__name__ for each in self.user_classes} != set(msg.data["user_classes_count"]):
                return
            msg.data |= {"host": None, "stop_timeout": None, "parsed_options": {}}
        super().handle_message(msg)


def master_of(environment: Environment, path: str, secret: Secret | None) -> GuardedMaster:
    """Locust's master at the Unix socket `path`."""
    locust.runners.rpc = _Sockets(path, secret, lambda: None)
    environment.runner = runner = GuardedMaster(environment, "", 0)
    return runner


def worker_of(
    environment: Environment, address: str, secret: Secret | None, unproven: Callable[[], None]
) -> GuardedWorker:
    """A worker of the master at `address`; `unproven` is called where that doesn't know the same secret."""
    locust.runners.rpc = _Sockets(address, secret, unproven)
    environment.stats = RequestStats(use_response_times_cache=False)
    environment.runner = runner = GuardedWorker(environment, "", 0)
    return runner
