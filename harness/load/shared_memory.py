"""Tensors in system shared memory: the requests only say where they are, so nothing large crosses a socket.

Triton's system shared memory extension (docs/protocol/extension_shared_memory.md in triton-inference-server)
takes POSIX shared memory objects, which on Linux are files in /dev/shm. One holds every variant of every
class, written once; another has room for the answers of every connection that has a request in flight.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from harness.here import is_here
from harness.load.tls import Tls
from harness.schema.errors import HarnessError, InputError, ServerError
from harness.schema.samples import Status
from harness.schema.scenario import Protocol
from harness.schema.tensors import Tensors

OPEN_LOOP_SLOTS = 64
"""An open loop may have more requests in flight; their answers, which nobody reads, overwrite each other."""

_FOLDER = Path("/dev/shm")
_PREFIX = "harness_load_"
_ALIGNED = 64
_YOUNG_S = 60.0
"""A region this young may not be locked yet by the process that is making it."""
_CONTROL_LIMIT_S = 5.0
_RELEASE_S = 2.0


class ServerGone(ServerError):
    """No answer: there may be nobody left to ask."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model whose tensors are shared, and where it answers."""

    protocol: Protocol
    model: str
    host: str
    port: int
    """Of `protocol`."""
    http_port: int
    """Where regions are registered, whatever the protocol."""
    timeout_s: float
    tls: Tls | None = None


class Region:
    """A POSIX shared memory object of our own, until `close`; locked, so that nobody takes it for left over.

    Raises HarnessError where there is no room for it.
    """

    def __init__(self, size: int) -> None:
        self.size = max(size, 1)
        self.name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(6)}"
        self._path = _FOLDER / self.name
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HarnessError(
                f"{_FOLDER} can't be written to ({error.strerror}): set `shared_memory: none`"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Without the room set aside, the first write beyond it would be a SIGBUS.
            os.posix_fallocate(self._file, 0, self.size)
            self.memory = mmap.mmap(self._file, self.size)
        except OSError as error:
            self._remove()
            raise HarnessError(
                f"{_FOLDER} has no room for {self.size / 1e6:.0f} MB ({error.strerror}): make it larger (a "
                "container's --shm-size), have fewer requests in flight, or set `shared_memory: none`"
            ) from error

    def close(self) -> None:
        with suppress(BufferError):  # somebody looks at it still; it goes when they stop
            self.memory.close()
        self._remove()

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class SharedMemory:
    """From `with` to the end of its block, both regions exist and Triton knows them.

    `prepared` has a request for each slot, class and variant, in this order of indices; requests that are in
    flight at once should be of different slots, because the answers of one slot overwrite each other.
    """

    def __init__(
        self, target: Target, payloads: Sequence[Sequence[Tensors]], outputs: Sequence[str], slots: int
    ) -> None:
        """`payloads`: the variants of each class. `outputs`: what to ask for; none means all.

        Entering raises InputError where the server can't share memory with this machine, ServerError where it
        refuses the model's requests, HarnessError where there is no room.
        """
        self._target, self._payloads, self._outputs = target, payloads, tuple(outputs)
        self._slots = max(slots, 1)
        self._exit = ExitStack()
        self.prepared: list[list[list[bytes]]] = []

    def __enter__(self) -> Self:
        if not is_here(self._target.host):
            raise InputError(
                f"{self._target.host} is another machine, and memory can't be shared with it: set "
                "`shared_memory: none`, or run harness where the server runs"
            )
        with self._exit:
            self._make()
            self._exit = self._exit.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def output(self, slot: int, name: str) -> bytes:
        """What is in the slot's place for an output. As many bytes as the first answer's had."""
        at, size = self._place(slot, name)
        return bytes(self._answers.memory[at : at + size])

    def _make(self) -> None:
        for left_over in _sweep():
            self._unregister(left_over)
        contents = [
            [{name: _raw(array) for name, array in tensors.items()} for tensors in variants]
            for variants in self._payloads
        ]
        every = [raw for variants in contents for tensors in variants for raw in tensors.values()]
        self._requests = self._region(sum(_padded(len(raw)) for raw in every))
        self._sizes = self._answered()
        self._slot_bytes = sum(_padded(size) for size in self._sizes.values())
        self._answers = self._region(self._slots * self._slot_bytes)
        at = 0
        places: list[list[dict[str, tuple[int, int]]]] = []
        for variants in contents:
            places.append([])
            for tensors in variants:
                of_variant = {}
                for name, raw in tensors.items():
                    self._requests.memory[at : at + len(raw)] = raw
                    of_variant[name] = (at, len(raw))
                    at += _padded(len(raw))
                places[-1].append(of_variant)
        self.prepared = [
            [
                [self._request(slot, *each) for each in zip(variants, where, strict=True)]
                for variants, where in zip(self._payloads, places, strict=True)
            ]
            for slot in range(self._slots)
        ]

    def _region(self, size: int) -> Region:
        """A new region that Triton knows until the end of the block."""
        region = Region(size)
        self._exit.callback(region.close)
        described = {"key": f"/{region.name}", "offset": 0, "byte_size": region.size}
        try:
            self._control(f"region/{region.name}/register", described)
        except ServerError as error:
            raise InputError(
                f"the server at {self._target.host} can't share this machine's memory ({error}): let it see "
                f"{_FOLDER} of this machine (a container's --ipc=host), or set `shared_memory: none`"
            ) from error
        self._exit.callback(self._unregister, region.name)
        return region

    def _unregister(self, name: str) -> None:
        """Triton answers a request before it lets go of its memory, and keeps a region that is still held."""
        give_up = time.monotonic() + _RELEASE_S
        while True:
            try:
                self._control(f"region/{name}/unregister", {})
                return
            except ServerGone:  # or it hangs: it has forgotten the region, or will
                return
            except ServerError:
                if time.monotonic() > give_up:
                    return
            time.sleep(0.02)

    def _control(self, what: str, body: dict[str, Any]) -> None:
        """POST to the extension's endpoint. Raises ServerError with what the server says."""
        connection = HTTPConnection(self._target.host, self._target.http_port, timeout=_CONTROL_LIMIT_S)
        try:
            connection.request("POST", f"/v2/systemsharedmemory/{what}", json.dumps(body))
            response = connection.getresponse()
            said = response.read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            raise ServerGone(f"no answer: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise ServerError(said.strip() or f"HTTP {response.status}")

    def _answered(self) -> dict[str, int]:
        """Bytes of each output, the most that the first variants' answers have. Asked over the wire."""
        from harness.load.wire import open_connection, prepare

        target = self._target
        connection = open_connection(target.protocol, target.host, target.port, target.timeout_s, target.tls)
        sizes: dict[str, int] = {}
        try:
            for variants in self._payloads:
                request = prepare(
                    target.protocol, target.model, variants[0], self._outputs, f"{target.host}:{target.port}"
                )
                reply = connection.call(request, keep_body=True)
                if reply.status is not Status.OK:
                    raise ServerError(
                        f"{target.model} did not answer the request that the size of its answers was to be "
                        f"seen from: {reply.reason}"
                    )
                for name, array in connection.decode(reply).items():
                    sizes[name] = max(sizes.get(name, 1), len(_raw(array)))
        finally:
            connection.close()
        return sizes

    def _place(self, slot: int, name: str) -> tuple[int, int]:
        at = slot * self._slot_bytes
        for each, size in self._sizes.items():
            if each == name:
                return at, size
            at += _padded(size)
        raise KeyError(name)

    def _request(self, slot: int, tensors: Tensors, where: Mapping[str, tuple[int, int]]) -> bytes:
        from tritonclient.utils import np_to_triton_dtype

        from harness.load.wire import grpc_messages, http

        target = self._target
        if target.protocol == "http":
            import tritonclient.http as triton
        else:
            import tritonclient.grpc as triton
        inputs, outputs = [], []
        for name, (at, size) in where.items():
            array = tensors[name]
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_shared_memory(self._requests.name, size, at)
            inputs.append(tensor)
        for name in self._sizes:
            at, size = self._place(slot, name)
            output = triton.InferRequestedOutput(name)
            output.set_shared_memory(self._answers.name, size, at)
            outputs.append(output)
        if target.protocol == "http":
            return http.request(target.model, inputs, outputs, f"{target.host}:{target.port}")
        return grpc_messages.request(target.model, inputs, outputs)


def _raw(array: np.ndarray[Any, Any]) -> memoryview:
    """A tensor as Triton has it in memory: row by row; strings each after its length."""
    if array.dtype.kind in "OSU":
        from tritonclient.utils import serialize_byte_tensor

        array = np.frombuffer(serialize_byte_tensor(array).item(), np.uint8)
    flat = np.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(np.uint8))  # type: ignore[arg-type]  # it has the buffer protocol


def _padded(size: int) -> int:
    return size + -size % _ALIGNED


def _sweep() -> list[str]:
    """Remove what dead processes left: what nobody holds the lock of; the names."""
    removed = []
    for path in _FOLDER.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another sweep was faster, it is locked, or it belongs to another user
            if time.time() - path.stat().st_mtime < _YOUNG_S:
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed.append(path.name)
    return removed
