"""Tiny models on the real embedded Triton, for what the load path needs and no shipped model does.

`echo` gives its input back. `cached` does so through the response cache, so that Triton's core alone
answers: the null server. `moody` fails where the first number is negative, and sleeps that many seconds.
`types` gives back an input of each of several data types. `ends` gives back the first and last value of a
large input, and `large` makes a large output of small input: neither costs the server much but transport.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

TYPES = ("FP16", "FP32", "FP64", "INT8", "INT32", "INT64", "UINT8", "BOOL")
"""Not BYTES: the backend reads strings through numpy 1's structures, and dies of numpy 2's."""

_TYPES_MODEL = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        # The tensors themselves, so outputs are named as inputs.
        return [pb.InferenceResponse(output_tensors=r.inputs()) for r in requests]
"""


def _types_config() -> str:
    tensors = ", ".join(f'{{ name: "{name}", data_type: TYPE_{name}, dims: [ -1 ] }}' for name in TYPES)
    return (
        'name: "types"\nbackend: "python"\nmax_batch_size: 8\n'
        f"input [ {tensors} ]\noutput [ {tensors} ]\ninstance_group [ {{ kind: KIND_CPU }} ]\n"
    )


class OptionedServer(EmbeddedServer):
    """With more options of tritonserver's than harness itself gives."""

    options: Sequence[str] = ()

    def command_line(self) -> list[str]:
        return [*super().command_line(), *self.options]


@contextmanager
def tiny_triton(
    folder: Path, options: Sequence[str] = (), host: str = "127.0.0.1"
) -> Iterator[EmbeddedServer]:
    """A server with the three models, until the block ends."""
    repository = folder / "repository"
    server = OptionedServer(repository, folder / "triton.log", response_cache=True, host=host)
    server.options = options
    with server:
        for name in ("echo", "cached", "moody"):
            text = _CONFIG.format(
                name=name,
                instances=2 if name == "moody" else 1,
                cached="true" if name == "cached" else "false",
            )
            add_model(server, name, text, _MODEL.format(moody=name == "moody"))
        yield server


def add_model(server: EmbeddedServer, name: str, config: str, code: str) -> None:
    """Put a model of the Python backend into the server's repository, and load it."""
    entry = server.repository / name
    (entry / "1").mkdir(parents=True)
    (entry / "config.pbtxt").write_text(config)
    (entry / "1" / "model.py").write_text(code)
    server.control.load(name)


_LARGE_MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.made = {{}}

    def execute(self, requests):
        return [self.one(np.from_dlpack(pb.get_input_tensor_by_name(r, "X"))) for r in requests]

    def one(self, x):
        y = self.{name}(x)
        return pb.InferenceResponse(output_tensors=[pb.Tensor.from_dlpack("Y", y)])

    def ends(self, x):
        return np.array([[x[0, 0], x[0, -1]]])

    def large(self, x):
        size = int(x[0, 0])
        if size not in self.made:
            self.made[size] = np.arange(size, dtype=np.float32).reshape(1, size)
        return self.made[size]
"""


def add_large(server: EmbeddedServer) -> None:
    """`ends` and `large`."""
    for name in ("ends", "large"):
        config = _CONFIG.format(name=name, instances=1, cached="false")
        add_model(server, name, config, _LARGE_MODEL.format(name=name))


def add_types(server: EmbeddedServer) -> None:
    add_model(server, "types", _types_config(), _TYPES_MODEL)
