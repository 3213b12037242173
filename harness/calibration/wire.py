"""What a request costs beyond its service, by a plain client of another make than the one under test.

For each protocol a process of its own asks a truth model of its own, one request at a time, all the while
that others are measured: so it meets the same machine as they, as busy and as slow to wake up. As there, a
request's time begins when it should be sent.
`python -m harness.calibration.wire PROTOCOL HOST PORT MODEL` prints a line a request, when it was answered
and how long it took beyond its service, in nanoseconds of CLOCK_MONOTONIC, until its stdin ends.

Both are blocking sockets, by `plain_http` and `plain_http2`. Python's http.client takes 0.4 ms longer and
Google's grpcio 0.3 ms (seen on a slow machine), which would be taken for the wire's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import terminal
from harness.calibration.lanes import Lane
from harness.calibration.plain_http import PlainHttp
from harness.calibration.plain_http2 import PlainHttp2
from harness.calibration.queues import Added
from harness.calibration.station import MOST_AT_ONCE, PROTOCOLS, Station
from harness.child_process import last_line
from harness.interpreter import python
from harness.schema.errors import ServerError
from harness.schema.samples import Window
from harness.schema.scenario import Protocol
from harness.triton.truth import SERVED, SERVICE

SERVICE_S = 0.01
PER_S = 15.0
"""At most; each is due that long after the answer to the one before."""
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol's requests so far."""

    file: Path

    def during(self, window: Window) -> Added:
        """What the requests answered in this window took beyond their service.

        Raises ServerError where none was: the model stopped answering.
        """
        found = [line for line in self.lines() if window.start_ns <= line[0] <= window.end_ns]
        if not found:
            raise ServerError(f"the plain client was not answered meanwhile: see {self.file}")
        at_ns, took_ns = np.array(found, np.int64).T
        return Added(at_ns, took_ns / 1e9)

    def lines(self) -> Iterator[tuple[int, int]]:
        text = self.file.read_text("ascii", errors="replace")
        for line in text[: text.rfind("\n") + 1].splitlines():
            at_ns, _, took_ns = line.partition(" ")
            if at_ns.isdecimal():  # else it is what the client said of its end
                yield int(at_ns), int(took_ns)


WIRES = tuple((Lane(protocol, MOST_AT_ONCE), False) for protocol in PROTOCOLS)
"""The models that are asked, and that none of them stalls."""


@contextmanager
def wires(station: Station) -> Iterator[Mapping[Protocol, Wire]]:
    """A plain client over each protocol, asking until the block ends.

    Raises ServerError when one isn't answered.
    """
    with ExitStack() as stack:
        yield {protocol: stack.enter_context(_wire(station, protocol)) for protocol in PROTOCOLS}


@contextmanager
def _wire(station: Station, protocol: Protocol) -> Iterator[Wire]:
    ((lane, stalling),) = (each for each in WIRES if each[0].protocol == protocol)
    model = station.truth_model(lane, stalling=stalling)
    where = (station.server.host, str(station.port(protocol)), model)
    wire = Wire(station.folder / f"wire-{protocol}.txt")
    with wire.file.open("wb") as out:
        process = subprocess.Popen(
            python("-m", "harness.calibration.wire", protocol, *where),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C is for harness, which ends this one
        )
    try:
        _answered(process, wire, model)
        yield wire
    finally:
        process.kill()
        process.communicate()


def _answered(process: subprocess.Popen[bytes], wire: Wire, model: str) -> None:
    give_up = time.monotonic() + START_LIMIT_S
    while next(wire.lines(), None) is None:
        if process.poll() is not None or time.monotonic() > give_up:
            said = last_line(wire.file.read_text(errors="replace"))
            raise ServerError(f"a plain client isn't answered by {model}: {said}")
        time.sleep(0.05)


def _ask(call: Callable[[], None]) -> None:
    """Ask on and on, and print how long it took from when it should have been asked."""
    while True:
        due_ns = time.monotonic_ns() + int(1e9 / PER_S)
        time.sleep(1 / PER_S)
        call()
        ended_ns = time.monotonic_ns()
        terminal.say(f"{ended_ns} {ended_ns - due_ns - int(SERVICE_S * 1e9)}")


def _http(host: str, port: int, model: str) -> Callable[[], None]:
    import tritonclient.http as triton

    tensor = triton.InferInput(SERVICE, [1, 1], "FP64")
    tensor.set_data_from_numpy(np.array([[SERVICE_S]], np.float64))
    body, header_length = triton.InferenceServerClient.generate_request_body([tensor])
    connection = PlainHttp(
        host, port, f"/v2/models/{model}/infer", {"Inference-Header-Content-Length": str(header_length)}
    )

    def call() -> None:
        connection.ask(body)

    return call


def _grpc(host: str, port: int, model: str) -> Callable[[], None]:
    from tritonclient.grpc import service_pb2 as messages

    request = messages.ModelInferRequest(model_name=model)
    request.inputs.add(name=SERVICE, datatype="FP64", shape=[1, 1])
    request.outputs.add(name=SERVED)
    request.raw_input_contents.append(np.array([[SERVICE_S]], np.float64).tobytes())
    body = request.SerializeToString()
    connection = PlainHttp2(host, port, "/inference.GRPCInferenceService/ModelInfer")

    def call() -> None:
        if not connection.answer(b"\0" + len(body).to_bytes(4, "big") + body):
            raise ServerError(f"{model} answered without a message: see the server's log")

    return call


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    protocol, host, port, model = sys.argv[1:]
    try:
        _ask((_http if protocol == "http" else _grpc)(host, int(port), model))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
