"""What ready ONNX files return: no numbers, random numbers, text, nothing, or another size than it seems."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

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


def returning(nodes: list[Any], output: Any, constants: dict[str, Any] | None = None) -> Any:
    """A model of x [N, 4] whose only output is declared so."""
    made = model(nodes, ROWS, {}, constants)
    made.graph.output.append(output)
    return made


def test_results_that_no_triton_sends_are_refused_by_name_with_what_leaves_them_out(tmp_path: Path) -> None:
    of = helper.make_tensor_value_info
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 4])
    sequence = helper.make_value_info("y", helper.make_sequence_type_proto(floats))
    empty = {"end": np.array([0], np.int64), "last": np.array([1], np.int64)}
    bad = {
        r"'y' is always empty \(\[2, 0\] at batch 2\).*`outputs: \{leave_out: \[y\]\}` in m0": returning(
            [node("Slice", "x", "end", "end", "last")], of("y", TensorProto.FLOAT, ["N", 0]), empty
        ),
        r"'y' is STRING.* leave it out: `outputs: \{leave_out: \[y\]\}` in m1\.onnx\.yaml": returning(
            [node("Cast", "x", to="y")], of("y", TensorProto.STRING, ["N", 4])
        ),
        r"'y' is BFLOAT16.*leave it out": returning(
            [node("Cast", "x")], of("y", TensorProto.BFLOAT16, ["N", 4])
        ),
        r"'y' is COMPLEX64.*leave it out": returning(
            [node("Identity", "x")], of("y", TensorProto.COMPLEX64, ["N", 4])
        ),
        r"'y' is no tensor.*leave it out": returning([node("SequenceConstruct", "x", "x")], sequence),
        r"output 'y' is \[2, 4\] at one size and \[4\] at another": returning(
            [node("Squeeze", "x")], of("y", TensorProto.FLOAT, None)
        ),
    }
    for number, (words, made) in enumerate(bad.items()):
        with pytest.raises(InputError, match=words) as raised:
            taken(saved(made, tmp_path, f"m{number}.onnx"))
        assert "\n" not in str(raised.value)


def test_a_size_that_is_constant_by_chance_is_written_as_dynamic(tmp_path: Path) -> None:
    """Every 64th sample: one of each of the sizes that are tried."""
    constants = {n: np.array([v], np.int64) for n, v in {"b": 0, "e": 2**31, "a": 1, "st": 64}.items()}
    strided = model(
        [node("Slice", "x", "b", "e", "a", "st"), node("Abs", "x", to="z")],
        {"x": ["N", "samples"]},
        {"y": ["N", "frames"], "z": ["N", "samples"]},
        constants,
    )
    y, z = taken(saved(strided, tmp_path)).outputs
    assert y.axes == ("batch", "y_axis1")
    assert z.axes == ("batch", "samples")


def test_a_size_that_depends_on_the_rows_beside_is_refused_saying_so(tmp_path: Path) -> None:
    """As long as the largest value is."""
    nodes = [
        node("ReduceMax", "x", to="m", keepdims=0),
        node("Abs", "m", to="p"),
        node("Mul", "p", "hundred", to="h"),
        helper.make_node("Cast", ["h"], ["k"], to=TensorProto.INT64),
        node("Unsqueeze", "k", "first", to="u"),
        node("Shape", "x", to="s"),
        node("Slice", "s", "first", "one", to="b"),
        node("Concat", "b", "u", to="shape", axis=0),
        node("ReduceSum", "x", "one", to="sums"),
        node("Expand", "sums", "shape"),
    ]
    constants = {
        "hundred": np.array(100, np.float32),
        "first": np.array([0], np.int64),
        "one": np.array([1], np.int64),
    }
    path = saved(model(nodes, ROWS, {"y": ["N", "k"]}, constants), tmp_path)
    with pytest.raises(
        InputError, match=r"size of output 'y' depends on the rows .*`batch: false` in m\.onnx"
    ):
        taken(path)
    (tmp_path / "m.onnx.yaml").write_text("batch: false\n")
    artifact = taken(path)
    assert not artifact.batching
    assert artifact.outputs[0].axes == ("batch", "y_axis1")


@pytest.mark.parametrize("operator", ["Div", "Mod"])
def test_the_proof_divides_by_no_zero_that_it_made_up(operator: str, tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", "count", "one", to="c"),
        node(operator, "ids", "c", to="d"),
        node("Gather", "table", "d"),
    ]
    of = helper.make_tensor_value_info
    inputs = [of("ids", TensorProto.INT64, ["N", 4]), of("count", TensorProto.INT64, ["N"])]
    constants = [
        numpy_helper.from_array(np.arange(2, dtype=np.float32), "table"),
        numpy_helper.from_array(np.array([1]), "one"),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [of("y", TensorProto.FLOAT, ["N", 4])], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = taken(saved(made, tmp_path))
    assert artifact.batching
    assert artifact.note is None
