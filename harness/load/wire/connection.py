"""What both wires share: a call that always ends, in a whole answer or an error with its reason."""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from time import monotonic_ns
from typing import TYPE_CHECKING, NamedTuple

from harness import descriptors
from harness.load.wire.stream import Deadline, Expired
from harness.plain_text import quoted
from harness.schema.errors import ServerError
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer


LARGEST_KEPT = 1 << 30
"""Bytes of an answer that is kept; one that nobody keeps may have any number."""

_OK = Status.OK
"""Python 3.11 takes a tenth of a microsecond to find a member of an enumeration."""


class Reply(NamedTuple):
    """How one call ended. Its times are a latency only where `status` is OK."""

    status: Status
    reason: str | None
    """Why it failed, for a reader; None for OK."""
    sent_ns: int
    """Just before the first byte was handed to the kernel (where none was: when it was tried)."""
    first_byte_ns: int
    """When the first bytes of the answer were read; -1 if none came."""
    completed_ns: int
    """When the last byte was read, or the failure was seen."""
    sent_bytes: int
    """Bytes of the request, with what frames it; 0 where it could not be handed over."""
    received_bytes: int
    body: bytes | None = None
    """The answer, where it was asked for and whole: HTTP's body, or the gRPC message."""
    json_bytes: int | None = None
    """HTTP: how much of `body` is JSON; the tensors' bytes follow it."""
    resent: bool = False
    """It was sent again on a new connection, because the one from before was closed without an answer. The
    times are those of the second sending."""

    @property
    def latency_ms(self) -> float:
        return (self.completed_ns - self.sent_ns) / 1e6


class Fault(Exception):
    """A call can't be completed on this connection."""

    def __init__(self, status: Status, reason: str, *, final: bool = False) -> None:
        """`final`: to send the call again wouldn't be right, though nothing of an answer came."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.final = final


class NoDescriptors(Exception):
    """This process can't open another connection, which is no failure of the server's."""

    def __init__(self) -> None:
        super().__init__(
            f"it has all of the {descriptors.limit()} files and connections open that it may: raise its "
            "limit (`ulimit -n`), or share the load among more --workers"
        )


class Connection(ABC):
    """One keep-alive connection with at most one call in flight. To be used by one greenlet at a time.

    After any failure that leaves the connection's state in doubt it is closed, and the next call connects
    anew (before its `sent_ns`). A call on a connection that has answered before, and is closed without a byte
    of an answer, is sent once more on a new one: a server or a proxy may close an idle connection at any
    time, and the client sees it only then (RFC 9112, 9.3.1; RFC 9113, 8.7).
    """

    keeps = LARGEST_KEPT
    """Bytes of an answer that is kept. A longer one is a failure; where it is set to fewer, it is only not
    kept."""

    alone = False
    """Set it where no other greenlet of this process has anything to do while a call waits."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        """`timeout_s` bounds a whole call, connecting included."""
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self._deadline = Deadline(timeout_s)
        # What the call in flight has seen so far; `_exchange` fills it in.
        self._sent_ns = self._completed_ns = 0
        self._first_byte_ns = -1
        self._sent_bytes = 0
        self._received_bytes = 0
        self._body: bytes | None = None
        self._json_bytes: int | None = None

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether the next call needn't connect first."""

    @property
    @abstractmethod
    def _kept_alive(self) -> bool:
        """Whether the connection of the call in hand has answered another before."""

    @abstractmethod
    def _connect(self) -> None:
        """Be `connected`, or raise OSError or Fault."""

    @abstractmethod
    def _exchange(self, prepared: Buffer, keep_body: bool) -> str | None:
        """Send, and read the whole answer: None, or the reason that the server gives for its refusal."""

    @abstractmethod
    def _drop(self) -> None:
        """Send nothing more on the connection that the last call was on."""

    @abstractmethod
    def _decoded(self, body: bytes, json_bytes: int | None) -> Tensors:
        """The outputs in an answer. May raise whatever tritonclient does of one that it can't read."""

    def decode(self, reply: Reply) -> Tensors:
        """The outputs in a reply whose body was kept. Raises ServerError for an answer that has none."""
        if reply.body is None:
            raise ValueError("the reply has no body: call with keep_body=True")
        try:
            return self._decoded(reply.body, reply.json_bytes)
        except Exception as error:  # tritonclient indexes, casts and reshapes as the answer says
            raise ServerError(
                f"the server at {self.host} gave an answer whose outputs can't be read "
                f"({quoted(repr(error), 200)}): see whether a Triton listens there"
            ) from error

    def connect(self) -> None:
        """Connect now rather than in the first call. Raises OSError or Fault; the next call tries again."""
        if not self.connected:
            self._deadline.start()
            try:
                self._connect()
            except Expired:
                raise Fault(Status.TIMEOUT, self._late("no connection")) from None
            finally:
                self._deadline.stop()

    def call(self, prepared: Buffer, keep_body: bool = False) -> Reply:
        """Send prepared bytes, wait for the whole answer, `timeout_s` at most. Failures are replies too."""
        self._first_byte_ns = -1
        self._sent_bytes = self._received_bytes = 0
        self._body = self._json_bytes = None
        self._sent_ns = monotonic_ns()
        self._deadline.start()
        connected = resent = False
        try:
            try:
                if not self.connected:
                    self._connect()
                    self._sent_ns = monotonic_ns()
                connected = True
                reason = self._exchange(prepared, keep_body)
            except (Fault, OSError) as error:
                if not (connected and self._may_send_again(error)):
                    raise
                self._drop()
                self._sent_bytes = self._received_bytes = 0
                connected, resent = False, True
                if not self.connected:
                    self._connect()
                self._sent_ns = monotonic_ns()
                connected = True
                reason = self._exchange(prepared, keep_body)
            completed_ns = self._completed_ns
            status = _OK if reason is None else Status.REFUSED
        except Fault as fault:
            completed_ns = monotonic_ns()
            self._drop()
            status, reason = fault.status, fault.reason
        except Expired:
            completed_ns = monotonic_ns()
            missing = "no answer" if self._first_byte_ns < 0 else "half an answer"
            self._drop()
            status, reason = Status.TIMEOUT, self._late(missing)
        except OSError as error:
            completed_ns = monotonic_ns()
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise NoDescriptors from error
            status, reason = Status.CONNECTION, self._explained(error, connected)
            self._drop()
        except BaseException:  # the greenlet is being killed with an answer still to come
            self._drop()
            raise
        finally:
            self._deadline.stop()
        return Reply(
            status,
            reason,
            self._sent_ns,
            self._first_byte_ns,
            completed_ns,
            self._sent_bytes,
            self._received_bytes,
            self._body if status is _OK else None,
            self._json_bytes,
            resent,
        )

    def _may_send_again(self, error: Fault | OSError) -> bool:
        """Whether the call was on a connection that was closed while idle, as far as can be told."""
        if self._first_byte_ns >= 0 or not self._kept_alive:
            return False
        return not isinstance(error, Fault) or (error.status is Status.CONNECTION and not error.final)

    def close(self) -> None:
        """Close for good."""
        self._drop()
        self._deadline.close()

    def _late(self, missing: str) -> str:
        return f"{missing} within {self.timeout_s:g} s"

    def _explained(self, error: OSError, connected: bool) -> str:
        if isinstance(error, socket.gaierror):
            return f"the name {self.host!r} can't be resolved"
        text = os.strerror(error.errno).lower() if error.errno else str(error)
        where = " before the answer was whole" if connected else ""
        return f"{text}{where}"
