"""Tensors in shared memory: the requests only say where they are, so nothing large crosses a socket.

Triton's shared memory extensions (docs/protocol/extension_shared_memory.md in triton-inference-server) take
POSIX shared memory objects and allocations of a GPU, and differ in nothing but how a region is made and
registered. One region holds every variant of every class, written once; another has room for the answers of
every connection that has a request in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, get_args
from typing import Protocol as Seam

import numpy as np

from harness import ownership
from harness.address import is_here
from harness.load.endpoint import Endpoint
from harness.load.shared_memory.region_control import RegionControl, RegionKind
from harness.load.shared_memory.system_memory import SystemMemory
from harness.schema.errors import InputError, ServerError
from harness.schema.samples import Status
from harness.schema.tensors import Tensors

OPEN_LOOP_SLOTS = 64
"""An open loop may have more requests in flight; their answers, which nobody reads, overwrite each other."""

_ALIGNED = 256
"""As cuMemAlloc's own addresses are; kernels that read more than a value at a time ask for it."""


class Memory(Seam):
    """A region that this process and Triton can both reach, until `close`."""

    kind: RegionKind
    name: str
    """The region's name in Triton: system and CUDA regions share their names."""

    @property
    def reached_by(self) -> str:
        """What to do for a server that can't reach it, in words."""

    def registration(self) -> dict[str, Any]:
        """The body of Triton's register request."""

    def write(self, at: int, data: memoryview) -> None: ...

    def read(self, at: int, size: int) -> bytes: ...

    def close(self) -> None: ...


Make = Callable[[int], Memory]
"""Makes a region of that many bytes. Raises HarnessError where it can't be."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model whose tensors are shared, and where it answers."""

    endpoint: Endpoint
    model: str
    http_port: int
    """Where regions are registered, whatever the protocol."""
    access: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers without which the server may let nobody register regions."""
    version: str = ""
    """The model's; "" for the server's choice."""


class SharedMemory:
    """From `with` to the end of its block, both regions exist and Triton knows them.

    `prepared` has a request for each slot, class and variant, in this order of indices; requests that are in
    flight at once should be of different slots, because the answers of one slot overwrite each other.
    """

    def __init__(
        self,
        target: Target,
        payloads: Sequence[Sequence[Tensors]],
        outputs: Sequence[str],
        slots: int,
        make: Make = SystemMemory,
    ) -> None:
        """`payloads`: the variants of each class. `outputs`: what to ask for; none means all.

        Entering raises InputError where the server can't share memory with this machine, ServerError where it
        refuses the model's requests, HarnessError where there is no room, and what else `make` raises.
        """
        self._target, self._payloads, self._outputs = target, payloads, tuple(outputs)
        self._slots, self._new = max(slots, 1), make
        self._regions = RegionControl(target.endpoint.host, target.http_port, headers=target.access)
        self._exit = ExitStack()
        self.prepared: list[list[list[bytes]]] = []

    def __enter__(self) -> Self:
        if not is_here(self._target.endpoint.host):
            raise InputError(
                f"{self._target.endpoint.host} is another machine, and memory can't be shared with it: set "
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
        return self._answers.read(at, size)

    def _make(self) -> None:
        for left_over in ownership.sweep("load"):
            for kind in get_args(RegionKind):
                self._regions.unregister(kind, left_over)
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
                    self._requests.write(at, raw)
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

    def _region(self, size: int) -> Memory:
        """A new region that Triton knows until the end of the block."""
        region = self._new(max(size, 1))
        self._exit.callback(region.close)
        try:
            self._regions.register(region.kind, region.name, region.registration())
        except ServerError as error:
            host = self._target.endpoint.host
            raise InputError(
                f"the server at {host} can't share {region.kind} memory of this machine "
                f"({error}): {region.reached_by}, start it with --allow-client-shm=true where it knows that "
                "option, or set `shared_memory: none`"
            ) from error
        self._exit.callback(self._regions.unregister, region.kind, region.name)
        return region

    def _answered(self) -> dict[str, int]:
        """Bytes of each output, the most that the first variants' answers have. Asked over the wire."""
        target = self._target
        connection = target.endpoint.open()
        sizes: dict[str, int] = {}
        try:
            for variants in self._payloads:
                request = target.endpoint.prepare(
                    target.model,
                    variants[0],
                    self._outputs,
                    version=target.version,
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

        from harness.load.wire import http
        from harness.load.wire.grpc import grpc_messages

        target = self._target
        if target.endpoint.protocol == "http":
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
        if target.endpoint.protocol == "http":
            return http.request(target.model, inputs, outputs, str(target.endpoint.address), target.version)
        return grpc_messages.request(target.model, inputs, outputs, target.version)


def _raw(array: np.ndarray[Any, Any]) -> memoryview:
    """A tensor as Triton has it in memory: row by row; strings each after its length."""
    if array.dtype.kind in "OSU":
        from tritonclient.utils import serialize_byte_tensor

        array = np.frombuffer(serialize_byte_tensor(array).item(), np.uint8)
    flat = np.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(np.uint8))  # type: ignore[arg-type]  # it has the buffer protocol


def _padded(size: int) -> int:
    return size + -size % _ALIGNED
