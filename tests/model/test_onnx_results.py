"""What ready ONNX files return: no numbers, random numbers, text, nothing, or another size than it seems."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.schema.errors import InputError
from tests.model.test_onnx_files import model, saved, taken

pytestmark = pytest.mark.usefixtures("empty_cache")

ROWS: dict[str, list[int | str | None]] = {"x": ["N", 4]}


def node(operator: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), [to], **attributes)


@pytest.mark.parametrize(
    ("nodes", "word"),
    [([node("Sqrt", "x")], "NaN"), ([node("Relu", "x", to="r"), node("Log", "r")], "-inf")],
)
def test_rows_with_nan_and_infinities_are_proven_and_the_note_tells_of_them(
    nodes: list[Any], word: str, tmp_path: Path
) -> None:
    artifact = taken(saved(model(nodes, ROWS, {"y": ["N", 4]}), tmp_path))
    assert len(artifact.parity.cases) == 3
    assert artifact.note is not None and f"% of the values of output 'y' are {word}" in artifact.note


@pytest.mark.parametrize(
    ("nodes", "operator"),
    [
        ([node("RandomUniformLike", "x", to="r"), node("Add", "x", "r")], "RandomUniformLike"),
        ([node("RandomNormalLike", "x", to="r", seed=3.0), node("Add", "x", "r")], "RandomNormalLike"),
        ([node("Dropout", "x", "half", "on")], "Dropout"),
    ],
)
def test_a_random_model_is_called_random(nodes: list[Any], operator: str, tmp_path: Path) -> None:
    constants = {"half": np.array(0.5, np.float32), "on": np.array(True)}
    with pytest.raises(InputError, match=rf"is random \({operator}\): two runs .* differ"):
        taken(saved(model(nodes, ROWS, {"y": ["N", 4]}, constants), tmp_path))
