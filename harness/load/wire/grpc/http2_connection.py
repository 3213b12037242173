"""One HTTP/2 connection (RFC 9113) that any number of greenlets send on and wait at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub, getcurrent
from gevent.lock import Semaphore

from harness.load.wire.connection import Fault
from harness.load.wire.grpc import http2
from harness.load.wire.grpc.grpc_answer import Answer
from harness.load.wire.grpc.incoming import Incoming
from harness.load.wire.stream import Stream
from harness.schema.samples import Status

if TYPE_CHECKING:
    from harness.load.wire.stream import Buffer

_READS_A_TURN = 64
"""Reads of what lies ready before the event loop has its turn: others wait for it, as every deadline does."""
_CUT_OFF = "the connection was given up, because another request on it was cut off"


class Http2Connection:
    """Greeted on construction, which may raise OSError and Fault.

    The event loop reads what comes and goes on with those whose answers are whole; or, where nobody else has
    anything to do, the one who waits reads for itself (`alone`).

    Whatever leaves doubts about the connection retires it: nothing is begun on it any more, what is under
    way goes on where that is possible, and with the last answer it is closed.
    """

    def __init__(self, stream: Stream, hint: str, alone: bool = False) -> None:
        """`hint` is said of a server that hangs up on the greeting."""
        self.turn = Semaphore(1)
        """Held by who is in the middle of sending: frames of several streams may alternate, but not be mixed.
        What the kernel takes at once needs none."""
        self.retired = False
        self.has_answered = False
        self.incoming = Incoming()
        self._stream = stream
        self._hub = get_hub()
        self._starved: list[Answer] = []
        self._settling: gevent.Greenlet | None = None
        self._alone = alone
        stream.send(http2.opening())
        while not self.incoming.greeted:
            got = stream.receive_into(self.incoming.room)
            if not got:
                raise Fault(Status.CONNECTION, f"the server closed the connection without an answer{hint}")
            self.incoming.take(got)
        stream.send(self.incoming.take_owed())
        if alone:
            stream.wait_in_kernel()
        else:
            stream.on_readable(self._on_readable)

    def begin(self, answer: Answer, keep_body: bool) -> None:
        """Open a stream for this answer. Who does so sends at once: streams begin in their numbers' order."""
        incoming = self.incoming
        stream_id = incoming.last_stream + 2
        incoming.last_stream = stream_id
        answer.begin(stream_id, incoming.initial_window, keep_body)
        incoming.open[stream_id] = answer
        if stream_id >= http2.LAST_STREAM:
            self.retired = True

    def send(self, data: bytes | bytearray) -> None:
        """Hand over whole frames. What is raised has ended all that wait here: half a frame ends it all."""
        try:
            sent = self._stream.send_now(data)
            if sent != len(data):
                with self.turn:
                    self._stream.send(memoryview(data)[sent:])
        except BaseException as error:
            self._broke(error)
            raise

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        """The same of several buffers, without joining them."""
        with self.turn:
            try:
                self._stream.send_all(buffers)
            except BaseException as error:
                self._broke(error)
                raise

    def wait(self, answer: Answer) -> None:
        """Until it has ended. Raises Fault or OSError for one that ended badly."""
        while not answer.ended_ns:
            if self._alone:
                self._wait_alone()
                if not answer.ended_ns:
                    answer.check()
            else:
                self._wait(answer)
        if answer.fault is not None:
            self.retire()
            raise answer.fault
        self.has_answered = True
        if self.retired:
            self.retire()  # perhaps this was the last

    def wait_for_room(self, answer: Answer) -> bool:
        """Until the windows have room to send more for it; False if it has ended instead."""
        while not answer.ended_ns and min(self.incoming.window, answer.window) <= 0:
            if self._alone:
                self._wait_alone()
                answer.check()
            else:
                self._starved.append(answer)
                self._wait(answer)
        return not answer.ended_ns

    def abandon(self, answer: Answer) -> None:
        """Whoever waited for it doesn't any more: cancel it, where others keep the connection open."""
        if self.incoming.abandon(answer) and self.incoming.open and not self.turn.locked():
            with suppress(OSError):  # who reads sees it too
                cancel = http2.reset(answer.stream_id)
                if 0 < self._stream.send_now(cancel) < len(cancel):
                    self._broke(BrokenPipeError())
        self.retire()

    def retire(self) -> None:
        """Begin nothing on it any more."""
        self.retired = True
        if not self.incoming.open:
            self.close()

    def close(self) -> None:
        self.retired = True
        self._stream.close()
        if (
            self._settling and self._settling is not getcurrent()
        ):  # nothing tells it that what it waits for won't be
            self._settling.kill(block=False)

    def _wait(self, answer: Answer) -> None:
        answer.resume = getcurrent().switch
        try:
            self._hub.switch()
        finally:
            answer.resume = None

    def _wait_alone(self) -> None:
        if self.incoming.owed:  # the server may wait for these while we wait for it
            self._stream.send(self.incoming.take_owed())
        self._read(self._stream.receive_into, self._stream.discard)
        self.incoming.ended.clear()

    def _on_readable(self) -> None:
        """Called by the event loop: what happens here must end in the answers."""
        with suppress(BlockingIOError):
            self._read(self._stream.receive_now, self._stream.discard_now)
            for _ in range(_READS_A_TURN):
                if not self._stream.has_more or self.retired:
                    break
                self._read(self._stream.receive_now, self._stream.discard_now)
            else:
                self._hub.loop.run_callback(self._on_readable)
        self._tell()
        if self.incoming.owed and not self.retired and not self._settling:
            self._settling = gevent.spawn(self._settle)

    def _tell(self) -> None:
        """Go on with those whose answers have ended, and with those for whom there is room again."""
        incoming = self.incoming
        ended, incoming.ended = incoming.ended, []
        if incoming.window_grew:
            incoming.window_grew = False
            ended += self._starved
            self._starved = []
        for answer in ended:
            if answer.resume is not None:
                answer.resume()
        if self.retired:
            self.retire()

    def _settle(self) -> None:
        """Send the acknowledgements that no request took along."""
        with self.turn:
            pass
        if self.incoming.owed and not self.retired:
            with suppress(OSError):  # who reads sees it too
                self.send(self.incoming.take_owed())

    def _read(self, receive: Callable[[memoryview], int], discard: Callable[[int], int]) -> None:
        """Once. Any failure ends the answers that are open; only BlockingIOError is raised."""
        incoming = self.incoming
        missing = incoming.missing
        try:
            if not missing:
                got = receive(incoming.room)
                incoming.take(got)
            elif incoming.droppable:
                got = discard(missing)
                incoming.take_part(got, None)
            else:
                got = receive(incoming.view[:missing])
                incoming.take_part(got, incoming.view[:got])
        except BlockingIOError:
            raise
        except (Fault, OSError) as error:
            self._fail(error)
        else:
            if not got:
                self._fail(None)
        if incoming.leaving:
            self.retired = True

    def _broke(self, error: BaseException) -> None:
        self._fail(error if isinstance(error, OSError) else Fault(Status.CONNECTION, _CUT_OFF, final=True))
        self._hub.loop.run_callback(self._tell)

    def _fail(self, error: Fault | OSError | None) -> None:
        """End every open answer, for this or (None) because the server closed the connection."""
        for answer in list(self.incoming.open.values()):
            self.incoming.fail(answer, error or _closed(answer))
        self.close()


def _closed(answer: Answer) -> Fault:
    missing = "without an answer" if answer.first_byte_ns < 0 else "before the answer was whole"
    return Fault(Status.CONNECTION, f"the server closed the connection {missing}")
