"""Tiny models on the real embedded Triton, for what the load path needs and no shipped model does.

`echo` gives its input back. `cached` does so through the response cache, so that Triton's core alone
answers: the null server. `moody` fails where the first number is negative, and sleeps that many seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.triton.embedded import EmbeddedServer

_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 64
input [ {{ name: "X", data_type: TYPE_FP32, dims: [ -1 ] }} ]
output [ {{ name: "Y", data_type: TYPE_FP32, dims: [ -1 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: {instances} }} ]
response_cache {{ enable: {cached} }}
"""

_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        return [self.one(pb.get_input_tensor_by_name(r, "X")) for r in requests]

    def one(self, x):
        if {moody}:
            mood = float(np.from_dlpack(x).reshape(-1)[0])
            if mood < 0:
                return pb.InferenceResponse(error=pb.TritonError("the model is in a mood: 100% \\u00fc"))
            time.sleep(mood)
        # By DLPack, because the backend reads numpy 1's structures and gives empty tensors under numpy 2.
        return pb.InferenceResponse(output_tensors=[pb.Tensor.from_dlpack("Y", x.to_dlpack())])
"""


@contextmanager
def tiny_triton(folder: Path) -> Iterator[EmbeddedServer]:
    """A server with the three models, until the block ends."""
    repository = folder / "repository"
    with EmbeddedServer(repository, folder / "triton.log", response_cache=True) as server:
        for name in ("echo", "cached", "moody"):
            entry = repository / name
            (entry / "1").mkdir(parents=True)
            text = _CONFIG.format(
                name=name,
                instances=2 if name == "moody" else 1,
                cached="true" if name == "cached" else "false",
            )
            (entry / "config.pbtxt").write_text(text)
            (entry / "1" / "model.py").write_text(_MODEL.format(moody=name == "moody"))
            server.control.load(name)
        yield server
