"""The `onnxruntime` backend of the embedded Triton: ONNX Runtime on Triton's Python backend.

Triton runs this file in a process of its own for each instance (a "Python-based backend"), for every model
whose config.pbtxt says `backend: "onnxruntime"`. Options have the names that NVIDIA's C++ backend of that
name gives them (its README, "Model Config Options"), so one entry serves in both. An option that isn't
honoured here is refused at load by its name; nothing is ignored.

What differs from the C++ backend:
- Tensors cross shared memory between Triton and this process. Triton counts all of it, the batch's
  assembling and splitting too, as "compute infer"; "compute input" is only the copy into shared memory, and
  "compute output" the copy out of it into the response.
- `max_batch_size` is never filled in; inputs and outputs are, where config.pbtxt leaves them out.
- String tensors, sequence batching and ragged or optional inputs are refused.
- CUDA graphs are asked for in another way, and a model of which a part would run on the CPU in spite of
  KIND_GPU is refused: see `ort_providers.py` and `ort_placement.py`.

It imports only the standard library, numpy, onnxruntime and Triton's own helper, because it runs outside
the harness package.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from device_memory import Memory  # type: ignore[import-not-found]
from ort_providers import TENSORRT, cuda_graphs  # type: ignore[import-not-found]
from ort_run import DeviceRunner, GraphRunner, HostRunner, TensorrtRunner  # type: ignore[import-not-found]
from ort_session import check_tensors, open_session, refusal, refuse_unhonoured, run_options, triton_type  # type: ignore[import-not-found]


class TritonPythonModel:
    """One instance of one model. Triton calls these methods by their names."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fill in the inputs and outputs from the ONNX file where config.pbtxt has none."""
        said = config.as_dict()
        if said["input"] and said["output"]:
            return config
        # Triton doesn't pass this hook the model's path, but the stub process is started with it.
        path = Path(Path("/proc/self/cmdline").read_bytes().split(b"\0")[1].decode())
        session = open_session(path, {**said, "parameters": {}, "optimization": {}}, "CPU", 0)
        skipped = 1 if said["max_batch_size"] > 0 else 0
        for add, nodes in (
            (config.add_input, session.get_inputs()),
            (config.add_output, session.get_outputs()),
        ):
            for node in nodes:
                dims = [size if isinstance(size, int) else -1 for size in node.shape[skipped:]]
                add({"name": node.name, "data_type": triton_type(node), "dims": dims})
        return config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        refuse_unhonoured(config)
        path = Path(args["model_repository"]) / args["model_version"]
        path /= config.get("default_model_filename") or "model.onnx"
        device = int(args["model_instance_device_id"])
        kind = args["model_instance_kind"]
        self.session = open_session(path, config, kind, device)
        self.batching = config["max_batch_size"] > 0
        check_tensors("input", config["input"], self.session.get_inputs(), self.batching)
        check_tensors("output", config["output"], self.session.get_outputs(), self.batching)
        fed = {tensor["name"] for tensor in config["input"]}
        for node in self.session.get_inputs():
            if node.name not in fed:
                raise refusal(f"the ONNX file needs the input '{node.name}', which config.pbtxt lacks")
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.runner = runner(self.session, config, kind, device)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer to each request, in order. Requests of equal shapes run as one batch."""
        feeds = [{t.name(): of_triton(t) for t in request.inputs()} for request in requests]
        wanted = [[o for o in self.outputs if o in r.requested_output_names()] for r in requests]
        answers: list[Any] = [None] * len(requests)
        failed = 0
        for batch in self.batches(feeds):
            try:
                for which, found in self.run(batch, feeds, wanted):
                    tensors = [to_triton(name, found[name]) for name in wanted[which]]
                    answers[which] = pb_utils.InferenceResponse(output_tensors=tensors)
            except Exception as error:  # the instance outlives a request that ONNX Runtime can't run
                failed += len(batch)
                if failed == len(requests):
                    # Triton counts a request as failed only if this raises, not by an error in its answer.
                    raise
                for which in batch:
                    answers[which] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return answers

    def batches(self, feeds: list[dict[str, Any]]) -> list[list[int]]:
        """Indices of requests that can be concatenated, together; without batching, each alone."""
        if not self.batching:
            return [[which] for which in range(len(feeds))]
        alike: dict[Any, list[int]] = {}
        for which, feed in enumerate(feeds):
            alike.setdefault(tuple((name, feed[name].shape[1:]) for name in sorted(feed)), []).append(which)
        return list(alike.values())

    def run(self, batch: list[int], feeds: list[Any], wanted: list[list[str]]) -> list[tuple[int, Any]]:
        """(request's index, its outputs by name) for each request of `batch`, from one run."""
        names = [name for name in self.outputs if any(name in wanted[which] for which in batch)]
        found = self.runner.run([feeds[which] for which in batch], names)
        if not self.batching:
            return [(batch[0], found)]
        rows = [len(next(iter(feeds[which].values()))) for which in batch]
        for name, array in found.items():
            if len(array) != sum(rows):
                raise ValueError(f"output '{name}' has {len(array)} rows for a batch of {sum(rows)}")
        ends = np.cumsum(rows)
        return [
            (which, {name: array[end - count : end] for name, array in found.items()})
            for which, count, end in zip(batch, rows, ends, strict=True)
        ]


def runner(session: Any, config: dict[str, Any], kind: str, device: int) -> Any:
    """What runs this model's batches. On a GPU, tensors that Triton leaves there stay there."""

    def options() -> Any:
        return run_options(config)

    if kind == "CPU":
        return HostRunner(session, options)
    if cuda_graphs(config):
        return GraphRunner(session, options, ("cuda", device), pb_utils.Logger.log_info)
    if session.get_providers()[0] == TENSORRT:
        return TensorrtRunner(session, options, ("cuda", device), config["max_batch_size"])
    return DeviceRunner(session, options, ("cuda", device))


def of_triton(tensor: Any) -> Any:
    """One of Triton's tensors as a numpy array, or where it is on a device, both without a copy."""
    return np.from_dlpack(tensor) if tensor.is_cpu() else Memory.of_triton(tensor)


def to_triton(name: str, array: Any) -> Any:
    """`array`, numpy's or a Memory, as one of Triton's tensors, by DLPack.

    Triton's own `Tensor(name, array)` and `as_numpy()` read numpy's structures as numpy 1 laid them out:
    under numpy 2 they give empty outputs and inputs that repeat their first element, without an error
    (triton-inference-server/python_backend pull request 384).
    """
    if array.size == 0:  # whose strides Triton takes for a gap; and for once, zero bytes is right
        return pb_utils.Tensor(name, np.empty(array.shape, array.dtype))
    if isinstance(array, Memory):
        return pb_utils.Tensor.from_dlpack(name, array.capsule())
    capsule = array.__dlpack__()
    # Triton takes the tensor over, but renames the capsule so that numpy's destructor would complain.
    ctypes.pythonapi.PyCapsule_SetDestructor(ctypes.py_object(capsule), None)
    return pb_utils.Tensor.from_dlpack(name, capsule)
