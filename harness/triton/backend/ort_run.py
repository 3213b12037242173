"""One run of ONNX Runtime for the requests of a batch: on the host, on a device, or as a CUDA graph.

A feed is what one request sent: for each input a numpy array, or a Memory where Triton left the tensor on a
device. Feeds of one run have the same inputs and the same shapes but for the rows. What a run gives has the
rows of all feeds, in their order.

It imports only the standard library, numpy and onnxruntime, because the backend runs outside the harness
package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from device_memory import Device, Memory, allocated, fill_rows  # type: ignore[import-not-found]

Feed = dict[str, Any]

DTYPES = {
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}

MOST_GRAPHS = 32
"""So many shapes of input get a CUDA graph; each keeps its inputs, outputs and scratch memory on the GPU."""

NO_GRAPH = -1
"""The `gpu_graph_id` of a run that neither captures nor replays (onnxruntime_run_options_config_keys.h)."""


class HostRunner:
    """Runs batches that are on the host; ONNX Runtime copies them to its device and back by itself."""

    def __init__(self, session: Any, options: Callable[[], Any]) -> None:
        self.session = session
        self.new_options = options
        self.options = options()

    def run(self, feeds: list[Feed], names: list[str]) -> Feed:
        """The outputs `names` for all the feeds."""
        if len(feeds) == 1:
            (feed,) = feeds
        else:
            feed = {name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]}
        return dict(zip(names, self.session.run(names, feed, self.options), strict=True))


class DeviceRunner(HostRunner):
    """Runs batches of which a part is on a device without a detour over the host.

    An input of one request that is on this very device is read where it is; otherwise the batch is put
    together there. The outputs stay on the device if any input came from one, else they are the host's.
    """

    def __init__(self, session: Any, options: Callable[[], Any], device: Device) -> None:
        super().__init__(session, options)
        self.device = device
        nodes = [*session.get_inputs(), *session.get_outputs()]
        self.dtypes = {node.name: DTYPES.get(node.type) for node in nodes}

    def run(self, feeds: list[Feed], names: list[str]) -> Feed:
        if not on_device(feeds):
            return super().run(feeds, names)
        binding = self.session.io_binding()
        kept = [self.bind(binding, name, [feed[name] for feed in feeds]) for name in feeds[0]]
        values = self.run_bound(binding, names, self.options)
        del kept  # the inputs had to live as long as the run
        return values

    def bind(self, binding: Any, name: str, parts: list[Any]) -> Any:
        """Bind the input and return what has to stay alive."""
        if not on_device([{name: part} for part in parts]):
            array = parts[0] if len(parts) == 1 else np.concatenate(parts)
            binding.bind_cpu_input(name, array)
            return array
        memory = parts[0]
        if len(parts) == 1 and memory.device == self.device and memory.size > 0:
            binding.bind_input(name, *self.device, self.dtypes[name], memory.shape, memory.address)
            return memory
        memory = allocated(together(parts), self.dtypes[name], self.device)
        fill_rows(memory, parts)
        binding.bind_ortvalue_input(name, memory.owner)
        return memory

    def run_bound(self, binding: Any, names: list[str], options: Any) -> Feed:
        """Run with the inputs that are bound; the outputs are new memory of the device."""
        for name in names:
            binding.bind_output(name, *self.device)
        self.session.run_with_iobinding(binding, options)
        found = zip(names, binding.get_outputs(), strict=True)
        return {name: Memory.of_onnxruntime(value, self.dtypes[name], self.device) for name, value in found}


class GraphRunner(DeviceRunner):
    """Captures a CUDA graph for each shape of the batch, up to MOST_GRAPHS, and replays it.

    A graph reads and writes the addresses that it was captured with, so each shape has inputs and outputs of
    its own, and a batch is copied into them. It computes every output, whichever a request wants.
    """

    def __init__(
        self, session: Any, options: Callable[[], Any], device: Device, log: Callable[[str], None]
    ) -> None:
        super().__init__(session, options, device)
        self.options.add_run_config_entry("gpu_graph_id", str(NO_GRAPH))
        self.outputs = [node.name for node in session.get_outputs() if node.type in DTYPES]
        self.graphs: dict[Any, _Graph] = {}
        self.log = log
        self.told = False

    def run(self, feeds: list[Feed], names: list[str]) -> Feed:
        shapes = {name: together([feed[name] for feed in feeds]) for name in sorted(feeds[0])}
        key = tuple(shapes.items())
        graph = self.graphs.get(key)
        if graph is None:
            if len(self.graphs) == MOST_GRAPHS or any(0 in shape for shape in shapes.values()):
                self._say_once(shapes)
                return super().run(feeds, names)
            graph = _Graph(self, shapes, feeds, len(self.graphs) + 1)  # 0 is ONNX Runtime's own
            self.graphs[key] = graph
        graph.run(feeds)
        if not on_device(feeds):
            return {name: graph.outputs[name].owner.numpy() for name in names}
        copies = {}
        for name in names:  # the next run of this graph overwrites its outputs
            output = graph.outputs[name]
            copies[name] = allocated(output.shape, output.dtype, self.device)
            copies[name].fill(output)
        return copies

    def _say_once(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if not self.told:
            self.told = True
            self.log(f"inputs of {shapes} run without a CUDA graph: {len(self.graphs)} shapes have one")


class _Graph:
    """The memory of one shape, and the binding that a captured run replays."""

    def __init__(self, runner: GraphRunner, shapes: Feed, feeds: list[Feed], number: int) -> None:
        self.session = runner.session
        self.inputs = {
            name: allocated(shape, runner.dtypes[name], runner.device) for name, shape in shapes.items()
        }
        self._fill(feeds)
        first = self._binding()
        # A run without a graph tells the outputs' shapes, and allocates them.
        self.outputs = runner.run_bound(first, runner.outputs, runner.options)
        self.binding = self._binding()
        for name, memory in self.outputs.items():
            self.binding.bind_ortvalue_output(name, memory.owner)
        self.options = runner.new_options()
        self.options.add_run_config_entry("gpu_graph_id", str(number))

    def _binding(self) -> Any:
        binding = self.session.io_binding()
        for name, memory in self.inputs.items():
            binding.bind_ortvalue_input(name, memory.owner)
        return binding

    def _fill(self, feeds: list[Feed]) -> None:
        for name, memory in self.inputs.items():
            fill_rows(memory, [feed[name] for feed in feeds])

    def run(self, feeds: list[Feed]) -> None:
        """Into `outputs`. The first time ONNX Runtime captures it, in a few runs of its own."""
        self._fill(feeds)
        self.session.run_with_iobinding(self.binding, self.options)


class TensorrtRunner(DeviceRunner):
    """Lets TensorRT see the largest and the smallest batch of a shape before the first of its requests.

    TensorRT's engines are for a range of shapes. Without a profile in the configuration ONNX Runtime builds
    the range from the shapes that it has seen, and rebuilds the engine, in minutes, for one outside of it: so
    every new size of batch would. After this, none does.
    """

    def __init__(self, session: Any, options: Callable[[], Any], device: Device, max_batch: int) -> None:
        super().__init__(session, options, device)
        self.max_batch = max_batch
        self.seen: set[Any] = set()

    def run(self, feeds: list[Feed], names: list[str]) -> Feed:
        inner = tuple((name, feeds[0][name].shape[1:]) for name in sorted(feeds[0]))
        if self.max_batch > 1 and inner not in self.seen:
            self.seen.add(inner)
            for rows in (self.max_batch, 1):
                zeros = {name: np.zeros((rows, *shape), self.dtypes[name]) for name, shape in inner}
                HostRunner.run(self, [zeros], names)
        return super().run(feeds, names)


def on_device(feeds: list[Feed]) -> bool:
    return any(isinstance(tensor, Memory) for feed in feeds for tensor in feed.values())


def together(parts: list[Any]) -> tuple[int, ...]:
    """The shape of the parts one after another."""
    if len(parts) == 1:
        return tuple(parts[0].shape)
    return (sum(len(part) for part in parts), *parts[0].shape[1:])
