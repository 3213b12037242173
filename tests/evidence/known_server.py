"""A real Triton whose one model takes a known time for a batch, whatever the machine: it sleeps.

So the capacity of each configuration is known by a simulation of Triton's batcher, and what a search finds
can be held against it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.simulation.batcher import Batcher, completions
from harness.triton.embedded import EmbeddedServer
from harness.triton.repository import CONFIG, VERSION, model_config, text_format

FIXED_S, EACH_S = 0.040, 0.004
"""Seconds of a batch, and of each inference in it."""

_MODEL = f'''\
"""Answers each batch after a known time. Its instances don't slow each other down."""

import time

import triton_python_backend_utils as pb_utils

FIXED_S, EACH_S = {FIXED_S}, {EACH_S}


class TritonPythonModel:
    def execute(self, requests):
        due = time.monotonic() + FIXED_S
        inputs = [pb_utils.get_input_tensor_by_name(each, "x") for each in requests]
        due += EACH_S * sum(each.shape()[0] for each in inputs)
        answers = [pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("y", each.to_dlpack())])
                   for each in inputs]
        time.sleep(max(0.0, due - time.monotonic()))
        return answers
'''


class KnownServer(EmbeddedServer):
    """The embedded Triton, serving that model in place of the one that it is asked for: `write_onnx`'s."""

    def serve(self, artifact: ModelArtifact, settings: ServerSettings) -> str:
        self.settings, self.response_cache = settings, False

        def entry(repository: Path) -> str:
            folder = repository / artifact.name
            (folder / str(VERSION)).mkdir(parents=True, exist_ok=True)
            config = model_config(artifact, self.settings_there(settings), gpu=False) | {"backend": "python"}
            (folder / CONFIG).write_text(text_format(config))
            (folder / str(VERSION) / "model.py").write_text(_MODEL)
            return artifact.name

        self.start(entry)
        return artifact.name


def write_onnx(file: Path) -> None:
    """A model that gives a tensor x, [batch, n], back as y."""
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], file.stem, [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


def capacity(batcher: Batcher, limit_s: float, requests: int = 20_000) -> float:
    """The largest Poisson rate at which the p99 is at most `limit_s`, by bisection."""
    gaps = np.random.default_rng(7).exponential(1.0, requests)

    def holds(rate: float) -> bool:
        due = np.cumsum(gaps / rate)
        done = completions(due, batcher, lambda inferences: FIXED_S + EACH_S * inferences)
        return float(np.quantile(done - due, 0.99)) <= limit_s

    most = batcher.instances * batcher.max_batch / (FIXED_S + EACH_S * batcher.max_batch)
    low, high = 0.0, most
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
