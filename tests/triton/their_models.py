"""A model repository as others have it, of Python models: a folder for each, written by `write`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from textwrap import dedent, indent
from types import MappingProxyType

TYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "FP16": "FP16",
    "FP32": "FP32",
    "FP64": "FP64",
    "BF16": "BF16",
    "BYTES": "STRING",
}
"""Triton's datatypes, and what config.pbtxt calls them."""

TAKES_S = 0.004
"""What a batch takes unless told: their users wait, and leave the cores to the tests beside."""

_HEAD = """\
import json
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])
        self.asked = 0

    def execute(self, requests):
        time.sleep(TAKES_S)
        return [self.answer(request) for request in requests]

    def given(self, request, name):
        tensor = pb.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()

    def said(self, **arrays):
        return pb.InferenceResponse([pb.Tensor(name, array) for name, array in arrays.items()])

    def answer(self, request):
        self.asked += 1
"""

ECHO = """
out = []
for tensor in request.inputs():
    name = tensor.name().replace("in_", "out_")
    if tensor.name() == "in_BF16":  # NumPy has no such numbers
        out.append(pb.Tensor.from_dlpack(name, tensor.to_dlpack()))
    else:
        out.append(pb.Tensor(name, tensor.as_numpy()))
return pb.InferenceResponse(out)
"""

UPPER = """
text = self.given(request, "text")
return self.said(upper=np.array([each.upper() for each in text.ravel()], np.object_).reshape(text.shape))
"""

ADD = "return self.said(sum=self.given(request, 'ids') + self.given(request, 'mask'))"

FORTY = """
return self.said(total=sum(self.given(request, f"x{number}") for number in range(40)))
"""

VARIES = """
count = int(self.given(request, "count").ravel()[0])
return self.said(out=np.arange(count, dtype=np.int64))
"""

PICKY = """
value = float(self.given(request, "x").ravel()[0])
if value < 0:
    return pb.InferenceResponse(error=pb.TritonError("it is negative"))
return self.said(y=self.given(request, "x"))
"""

OPTIONAL = """
extra = self.given(request, "extra")
x = self.given(request, "x")
return self.said(y=x if extra is None else x + extra)
"""

COUNTING = "return self.said(y=np.full((1, 1), self.asked % 7, np.float32))"

TOLD = """
told = json.loads(request.parameters())
return self.said(told=np.array([json.dumps(told, sort_keys=True).encode()], np.object_))
"""

DOUBLE = "return self.said(y=2 * self.given(request, 'x'))"

STRICT = """
if not hasattr(self, "open"):
    self.open = {}
first, last = (bool(self.given(request, name).ravel()[0]) for name in ("START", "END"))
which = int(self.given(request, "CORRID").ravel()[0])
if first == (which in self.open):
    self.open.pop(which, None)
    word = "began twice" if first else "never began"
    return pb.InferenceResponse(error=pb.TritonError(f"sequence {which} {word}"))
steps, total = self.open.pop(which, (0, 0.0))
steps, total = steps + 1, total + float(self.given(request, "x").ravel()[0])
if not last:
    self.open[which] = steps, total
return self.said(
    steps=np.full((1, 1), steps, np.int32),
    total=np.full((1, 1), total, np.float32),
    left=np.full((1, 1), len(self.open), np.int32),
)
"""

SEQUENCES = """\
sequence_batching {{
  max_sequence_idle_microseconds: 60000000
  {strategy}
  control_input [
    {{ name: "START" control [ {{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "END" control [ {{ kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] }} ] }},
    {{ name: "CORRID" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }} ] }}
  ]
}}
"""

ROUND_TRIP = """
asked = pb.InferenceRequest(
    model_name="twice", requested_output_names=["y"], inputs=[pb.get_input_tensor_by_name(request, "x")]
)
found = asked.exec()
if found.has_error():
    return pb.InferenceResponse(error=pb.TritonError(found.error().message()))
return self.said(y=pb.get_output_tensor_by_name(found, "y").as_numpy() + 1)
"""


def write(repository: Path, *, takes_s: float = TAKES_S) -> Path:
    """All of them."""
    model = partial(python, repository, takes_s=takes_s)
    every = [(name, kind, "3") for name, kind in TYPES.items()]
    model(
        "every_type",
        ECHO,
        inputs={f"in_{name}": (kind, dims) for name, kind, dims in every},
        outputs={f"out_{name}": (kind, dims) for name, kind, dims in every},
        max_batch=4,
    )
    strings(repository, takes_s=takes_s)
    ids = {"ids": ("INT64", "-1"), "mask": ("INT64", "-1")}
    model("adder", ADD, ids, {"sum": ("INT64", "-1")})
    forty = {f"x{number}": ("FP32", "2") for number in range(40)}
    model("forty", FORTY, forty, {"total": ("FP32", "2")}, max_batch=4)
    model("varies", VARIES, {"count": ("INT32", "1")}, {"out": ("INT64", "-1")})
    model("picky", PICKY, {"x": ("FP32", "1")}, {"y": ("FP32", "1")}, max_batch=4)
    model("counting", COUNTING, {"x": ("FP32", "1")}, {"y": ("FP32", "1")}, max_batch=4)
    model(
        "optional",
        OPTIONAL,
        {"x": ("FP32", "2"), "extra": ("FP32", "2")},
        {"y": ("FP32", "2")},
        optional=("extra",),
    )
    model("told", TOLD, {"x": ("FP32", "1")}, {"told": ("STRING", "1")})
    for name in ("twice", "again"):
        model(name, DOUBLE, {"x": ("FP32", "4")}, {"y": ("FP32", "4")}, max_batch=8)
    model("round_trip", ROUND_TRIP, {"x": ("FP32", "4")}, {"y": ("FP32", "4")}, max_batch=8)
    sequences(repository, "direct", "direct { }", takes_s=takes_s)
    sequences(repository, "oldest", "oldest { max_candidate_sequences: 8 }", takes_s=takes_s)
    ensemble(repository, "in_a_row", ("twice", "again", "twice"))
    return repository


def strings(repository: Path, *, takes_s: float = TAKES_S) -> None:
    python(
        repository,
        "strings",
        UPPER,
        {"text": ("STRING", "1")},
        {"upper": ("STRING", "1")},
        max_batch=8,
        takes_s=takes_s,
    )


def sequences(repository: Path, name: str, strategy: str, *, takes_s: float = TAKES_S) -> None:
    """A model that checks its own flags and order, and fails on a mistake."""
    outputs = {"steps": ("INT32", "1"), "total": ("FP32", "1"), "left": ("INT32", "1")}
    more = SEQUENCES.format(strategy=strategy)
    python(repository, name, STRICT, {"x": ("FP32", "1")}, outputs, max_batch=4, more=more, takes_s=takes_s)


def python(
    repository: Path,
    name: str,
    answer: str,
    inputs: Mapping[str, tuple[str, str]],
    outputs: Mapping[str, tuple[str, str]],
    *,
    max_batch: int = 0,
    optional: tuple[str, ...] = (),
    more: str = "",
    flags: Mapping[str, str] = MappingProxyType({}),
    takes_s: float = TAKES_S,
) -> None:
    """A Python model. `answer`: the body of what answers one request; tensors by name, with their type and
    dimensions as config.pbtxt has them, and `flags` that it has of some besides."""

    def tensors(which: str, of: Mapping[str, tuple[str, str]]) -> str:
        return "".join(
            f'{which} {{ name: "{tensor}" data_type: TYPE_{kind} dims: [ {dims} ]'
            f"{' optional: true' if tensor in optional else ''} {flags.get(tensor, '')} }}\n"
            for tensor, (kind, dims) in of.items()
        )

    batching = "dynamic_batching { }\n" if max_batch and "_batching" not in more else ""
    config = (
        f'backend: "python"\nmax_batch_size: {max_batch}\n{batching}'
        f"{tensors('input', inputs)}{tensors('output', outputs)}"
        f"instance_group [ {{ kind: KIND_CPU }} ]\n{more}"
    )
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text(config)
    (folder / "model.py").write_text(
        f"TAKES_S = {takes_s}\n{_HEAD}" + indent(dedent(answer).strip(), " " * 8) + "\n"
    )


def ensemble(repository: Path, name: str, models: tuple[str, ...]) -> None:
    """Each after the one before; all of them take `x` and give `y`, FP32 of 4."""
    steps = []
    for number, model in enumerate(models):
        given = "x" if number == 0 else f"between_{number}"
        made = "y" if number == len(models) - 1 else f"between_{number + 1}"
        steps.append(
            f'step {{ model_name: "{model}" model_version: -1 '
            f'input_map {{ key: "x" value: "{given}" }} output_map {{ key: "y" value: "{made}" }} }}'
        )
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(
        'platform: "ensemble"\nmax_batch_size: 8\n'
        'input { name: "x" data_type: TYPE_FP32 dims: [ 4 ] }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [ 4 ] }\n'
        f"ensemble_scheduling {{ {' '.join(steps)} }}\n"
    )
