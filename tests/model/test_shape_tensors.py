"""Inputs whose values are a shape, as TensorRT has them: the example of Triton's "Model Configuration".

No server here has such a model: that takes a GPU.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.model.served_payloads import payloads
from harness.schema.errors import InputError
from harness.schema.point import PointClass
from harness.schema.served_model import Served, ServedModel
from harness.triton.described import described

CONFIG: dict[str, Any] = {
    "platform": "tensorrt_plan",
    "max_batch_size": 8,
    "input": [
        {"name": "input0", "data_type": "TYPE_FP32", "dims": ["1", "3"]},
        {"name": "input1", "data_type": "TYPE_INT32", "dims": ["2"], "is_shape_tensor": True},
    ],
}
TENSORS = [
    {"name": "input0", "datatype": "FP32", "shape": [-1, 1, 3]},
    {"name": "input1", "datatype": "INT32", "shape": [3]},
]


class Says:
    """What a Triton with that model answers; the rest of a Control isn't asked."""

    def model_metadata(self, _name: str, _version: int | None) -> dict[str, Any]:
        return {"name": "shaped", "versions": ["1"], "inputs": TENSORS, "outputs": [], "platform": "x"}

    def model_config(self, _name: str, _version: int | None = None) -> dict[str, Any]:
        return CONFIG


@pytest.fixture
def model() -> ServedModel:
    return described(Says(), Served(served="shaped"), source="a test")  # type: ignore[arg-type]


def asked(folder: Path, *shapes: Any, batch: int) -> PointClass:
    steps = [{"input0": [float(n)] * 3, "input1": shape} for n, shape in enumerate(shapes)]
    (folder / "data.json").write_text(json.dumps({"data": steps}))
    plain = dict(weight=1.0, axes={}, payload=None, folder=None, low=None, high=None)
    return PointClass(name="a", batch=batch, data="data.json", **plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "shape", [[4, 6], {"content": [1, 4, 6], "shape": [3]}], ids=["alone", "with a batch"]
)
def test_a_batch_has_one_and_its_first_value_is_the_batch(
    model: ServedModel, tmp_path: Path, batch: int, shape: Any
) -> None:
    assert [(tensor.name, tensor.dims) for tensor in model.inputs] == [("input0", (1, 3)), ("input1", (2,))]
    kind = asked(tmp_path, shape, shape, batch=batch)
    first, *_ = payloads(model, kind, base_dir=tmp_path, count=9, seed=1)
    assert first.inputs["input0"].shape == (batch, 1, 3)
    assert first.inputs["input1"].dtype == np.int32 and first.inputs["input1"].tolist() == [batch, 4, 6]


def test_steps_of_different_shapes_are_no_batch_and_none_is_made_up(
    model: ServedModel, tmp_path: Path
) -> None:
    kind = asked(tmp_path, [4, 6], [5, 6], batch=2)
    with pytest.raises(InputError, match="differ in 'input1', which is the shape of all of them"):
        payloads(model, kind, base_dir=tmp_path, count=9, seed=1)
    made_up = kind.model_copy(update={"data": None})
    with pytest.raises(InputError, match="a shape, which can't be made up: give `data`"):
        payloads(model, made_up, base_dir=tmp_path, count=9, seed=1)
