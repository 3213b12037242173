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
from harness.triton.server_folder import Entry, ServerFolder
from tests.triton.open_server import OpenServer

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

    def command_line(self, folder: ServerFolder) -> list[str]:
        return [*super().command_line(folder), *self.options]


@contextmanager
def tiny_triton(
    folder: Path,
    options: Sequence[str] = (),
    host: str = "127.0.0.1",
    more: Sequence[Entry] = (),
    *,
    closed: bool = True,
) -> Iterator[EmbeddedServer]:
    """A server with the small models and `more`, until the block ends; if not `closed`, open to all."""
    repository = folder / "repository"
    server: EmbeddedServer
    if closed:
        server = OptionedServer(repository, folder / "triton.log", response_cache=True, host=host)
        server.options = options
    else:
        server = OpenServer(repository, folder / "triton.log", response_cache=True, host=host)
    with server:
        server.start(*map(_small, ("echo", "cached", "moody")), TYPES_MODEL, *more)
        yield server


def model(name: str, config: str, code: str) -> Entry:
    """A model of the Python backend."""

    def entry(repository: Path) -> str:
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(config)
        (repository / name / "1" / "model.py").write_text(code)
        return name

    return entry


def _small(name: str) -> Entry:
    config = _CONFIG.format(
        name=name, instances=2 if name == "moody" else 1, cached="true" if name == "cached" else "false"
    )
    return model(name, config, _MODEL.format(moody=name == "moody"))


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


LARGE_MODELS = [
    model(name, _CONFIG.format(name=name, instances=1, cached="false"), _LARGE_MODEL.format(name=name))
    for name in ("ends", "large")
]

TYPES_MODEL = model("types", _types_config(), _TYPES_MODEL)
