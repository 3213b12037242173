"""Entries of the model repository that harness is calibrated with: of known service time, and of none."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.triton.repository import VERSION, text_format

SERVICE, SERVED = "SERVICE_S", "SERVED_S"
"""The input and output of a truth model: FP64 seconds of service, [1, 1]."""

NULL = "calibrate-null"
NULL_INPUT, NULL_OUTPUT = "X", "Y"
"""The null model's tensor: FP32, [batch, n]."""

_MODEL = Path(__file__).with_name("model.py")

_ECHO = '''\
"""Gives its input back. Behind Triton's response cache it is called once, and Triton's core answers alone."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.one(pb_utils.get_input_tensor_by_name(request, "X")) for request in requests]

    def one(self, x):
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", x.to_dlpack())])
'''


def write_truth(repository: Path, name: str, *, stall_s: float = 0.0, period_s: float = 1.0) -> str:
    """A model whose requests carry their service time (see `model.py` beside this file); its name.

    With `stall_s` the server stands still in the first `stall_s` of each `period_s` of CLOCK_MONOTONIC.
    """
    config = _config(name, 1, (SERVICE, "TYPE_FP64", 1), (SERVED, "TYPE_FP64", 1))
    config["parameters"] = {
        "stall_s": {"string_value": repr(stall_s)},
        "period_s": {"string_value": repr(period_s)},
    }
    entry = _entry(repository, name, config)
    shutil.copyfile(_MODEL, entry / str(VERSION) / "model.py")
    return name


def write_null(repository: Path) -> str:
    """The model that does as little as Triton can, for measuring the client; its name."""
    config = _config(NULL, 64, (NULL_INPUT, "TYPE_FP32", -1), (NULL_OUTPUT, "TYPE_FP32", -1))
    config["response_cache"] = {"enable": True}
    entry = _entry(repository, NULL, config)
    (entry / str(VERSION) / "model.py").write_text(_ECHO)
    return NULL


def _config(
    name: str, max_batch: int, input_: tuple[str, str, int], output: tuple[str, str, int]
) -> dict[str, Any]:
    def tensor(described: tuple[str, str, int]) -> dict[str, Any]:
        return {"name": described[0], "data_type": described[1], "dims": [described[2]]}

    return {
        "name": name,
        "backend": "python",
        "max_batch_size": max_batch,
        "input": [tensor(input_)],
        "output": [tensor(output)],
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    }


def _entry(repository: Path, name: str, config: dict[str, Any]) -> Path:
    entry = repository / name
    (entry / str(VERSION)).mkdir(parents=True, exist_ok=True)
    (entry / "config.pbtxt").write_text(text_format(config))
    return entry
