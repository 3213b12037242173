"""Ready ONNX files that Triton can't batch, or only with what is said beside them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.model.check import check_axes, inputs_of
from harness.model.payloads import payloads
from harness.model.runtime import Session
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact
from tests.model.classes import request_class
from tests.model.test_onnx_files import model, saved, taken

pytestmark = pytest.mark.usefixtures("empty_cache")


def node(operator: str, *inputs: str, to: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def cast(x: str, y: str) -> Any:
    return helper.make_node("Cast", [x], [y], to=TensorProto.FLOAT)


def axes(artifact: ModelArtifact) -> dict[str, tuple[int | str, ...]]:
    return {tensor.name: tensor.axes for tensor in (*artifact.inputs, *artifact.outputs)}


SHAPE = {"s": np.array([1, 8], np.int64)}

ALONE: dict[str, tuple[Any, dict[str, tuple[int | str, ...]], str]] = {
    "fixed": (
        model([node("Relu", "x")], {"x": [4, 8]}, {"y": [4, 8]}),
        {"x": (4, 8), "y": (4, 8)},
        "the first axis of input 'x' is fixed to 4",
    ),
    "one row in a dynamic batch": (
        model([node("Reshape", "x", "s")], {"x": ["N", 8]}, {"y": ["N", 8]}, SHAPE),
        {"x": (1, 8), "y": (1, 8)},
        "runs it with a batch of 1 and fails with 2",
    ),
    "single numbers": (
        model([node("Mul", "x", "k"), node("ReduceSum", "x", to="z", keepdims=0)], {"x": ["N", 8], "k": []},
              {"y": ["N", 8], "z": []}),
        {"x": ("batch", 8), "k": (1,), "y": ("batch", 8), "z": (1,)},
        "input 'k' is a single number",
    ),
    "a result of all rows": (
        model([node("Relu", "x"), node("ReduceSum", "x", to="z", keepdims=0)], {"x": ["N", 8]},
              {"y": ["N", 8], "z": []}),
        {"x": ("batch", 8), "y": ("batch", 8), "z": (1,)},
        r"output 'z' is \[\] for a batch of 2.*in m\.onnx\.yaml: `outputs: \{leave_out: \[z\]\}`",
    ),
    "as many rows as are found": (
        model([node("NonZero", "x", to="n"), node("Transpose", "n", to="t"), cast("t", "y")],
              {"x": ["N", 8]}, {"y": ["found", 2]}),
        {"x": ("batch", 8), "y": ("y_axis0", 2)},
        r"output 'y' is \[16, 2\] for a batch of 2",
    ),
    "the batch is second": (
        model([node("Mul", "x", "w")], {"x": ["frames", "N", 8], "w": ["N", 1]}, {"y": ["frames", "N", 8]}),
        {"x": ("frames", "batch", 8), "w": ("batch", 1), "y": ("frames", "batch", 8)},
        "the batch is not the first axis of input 'x'",
    ),
    "heads in the batch": (
        model([node("Relu", "x"), node("Relu", "w", to="z")], {"x": ["N", 8], "w": ["3*N", 8]},
              {"y": ["N", 8], "z": ["M", 8]}),
        {"x": ("batch", 8), "w": ("3*batch", 8), "y": ("batch", 8), "z": ("z_axis0", 8)},
        r"the first axis of input 'w' is '3\*N'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALONE)
def test_what_triton_cannot_batch_is_proven_and_served_a_request_at_a_time(kind: str, tmp_path: Path) -> None:
    made, wanted, why = ALONE[kind]
    artifact = taken(saved(made, tmp_path))
    assert not artifact.batching
    assert axes(artifact) == wanted
    assert artifact.note is not None and re.search(why, artifact.note)
    frames = {"frames": 6} if "frames" in artifact.dynamic_axes else {}
    batch = 3 if "batch" in artifact.inputs[0].axes else 1
    request = request_class(batch=batch, **frames)
    (payload,) = payloads("m.onnx", request, base_dir=tmp_path, count=1, seed=1)
    answer = Session(artifact.path).run(payload)
    for tensor in artifact.outputs:
        assert len(answer[tensor.name].shape) == len(tensor.axes)


def test_a_class_with_many_rows_of_a_model_that_takes_one_is_refused(tmp_path: Path) -> None:
    saved(model([node("Relu", "x")], {"x": [1, 8]}, {"y": [1, 8]}), tmp_path)
    signature = inputs_of("m.onnx", base_dir=tmp_path)
    with pytest.raises(InputError, match=r"has batch 3, .*one inference a request \(the first axis .* fixed"):
        check_axes("m.onnx", signature, request_class(batch=3))


def test_a_single_number_is_what_it_was_inside_the_model(tmp_path: Path) -> None:
    artifact = taken(saved(ALONE["single numbers"][0], tmp_path))
    x = np.ones((2, 8), np.float32)
    answer = Session(artifact.path).run({"x": x, "k": np.array([3], np.float32)})
    assert np.array_equal(answer["y"], x * 3)
    assert np.array_equal(answer["z"], np.array([16], np.float32))


def test_an_axis_that_follows_from_others_is_computed_and_not_asked_for(tmp_path: Path) -> None:
    inputs: dict[str, list[int | str | None]] = {
        "x": ["batch", "seq"],
        "past": ["batch", "past_seq"],
        "mask": ["batch", "past_seq + seq"],
    }
    made = model(
        [node("Concat", "past", "x", to="c", axis=1), node("Mul", "c", "mask")],
        inputs,
        {"y": ["batch", "past_seq + seq"]},
    )
    artifact = taken(saved(made, tmp_path))
    assert artifact.batching
    assert artifact.dynamic_axes == ("seq", "past_seq")
    assert axes(artifact)["mask"] == ("batch", "past_seq + seq")
    (payload,) = payloads(
        "m.onnx", request_class(batch=2, seq=5, past_seq=7), base_dir=tmp_path, count=1, seed=1
    )
    assert {name: value.shape for name, value in payload.items()} == {
        "x": (2, 5),
        "past": (2, 7),
        "mask": (2, 12),
    }


def signal(least: int) -> Any:
    """A convolution whose kernel is so long."""
    return model(
        [node("Unsqueeze", "audio", "one", to="u"), node("Conv", "u", "w")],
        {"audio": ["batch", "samples"]},
        {"y": ["batch", 1, "frames"]},
        {"w": np.ones((1, 1, least), np.float32), "one": np.array([1], np.int64)},
    )


@pytest.mark.parametrize("least", [400, 6000])
def test_a_signal_that_has_to_be_long_is_tried_longer_and_the_note_says_what_fails(
    least: int, tmp_path: Path
) -> None:
    artifact = taken(saved(signal(least), tmp_path))
    assert {case.axes["batch"] for case in artifact.parity.cases} >= {1, 2}
    assert artifact.note is not None and "ONNX Runtime fails at batch 2, samples 24" in artifact.note


def test_one_that_has_to_be_longer_yet_is_refused_with_where_to_say_so(tmp_path: Path) -> None:
    path = saved(signal(50_000), tmp_path)
    with pytest.raises(InputError, match=r"fails .*in m\.onnx\.yaml \(`axes: \{samples: \{least: 1000\}\}`"):
        taken(path)
    (tmp_path / "m.onnx.yaml").write_text("axes: {samples: {least: 50000, most: 90000}}\n")
    assert taken(path).outputs[0].axes == ("batch", 1, "y_axis2")
    with pytest.raises(InputError, match=r"takes 50000 to 90000: the nearest is 50000"):
        check_axes(
            "m.onnx", inputs_of("m.onnx", base_dir=tmp_path.absolute() / "."), request_class(samples=4)
        )


DETECTOR = """\
inputs:
  x: {axes: [batch, 3, side, side], low: 0, high: 1}
  rate: {constant: 16000}
  ids: {low: 5, high: 7}
outputs:
  leave_out: [anchors]
"""


def test_a_description_beside_the_file_names_axes_values_and_what_to_leave_out(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            cast("rate", "r"),
            cast("ids", "i"),
            node("Mul", "x", "r", to="m"),
            node("Add", "m", "i"),
            node("Identity", "a", to="anchors"),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "h", "w"]),
            helper.make_tensor_value_info("rate", TensorProto.INT64, ["N", 1, 1, 1]),
            helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", 1, 1, 1]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, "h", "w"]),
            helper.make_tensor_value_info("anchors", TensorProto.FLOAT, [10, 4]),
        ],
        [onnx.numpy_helper.from_array(np.ones((10, 4), np.float32), "a")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = saved(made, tmp_path)
    before = taken(path)
    assert not before.batching
    (tmp_path / "m.onnx.yaml").write_text(DETECTOR)
    artifact = taken(path)
    assert artifact.path != before.path
    assert artifact.batching
    assert artifact.note is None
    assert axes(artifact)["x"] == ("batch", 3, "side", "side")
    assert [output.name for output in artifact.outputs] == ["y"]
    written = onnx.load(artifact.path).graph
    assert [each.op_type for each in written.node] == ["Cast", "Cast", "Mul", "Add"]
    assert not written.initializer
    (payload,) = payloads("m.onnx", request_class(batch=50, side=4), base_dir=tmp_path / ".", count=1, seed=1)
    assert set(np.unique(payload["rate"]).tolist()) == {16000}
    assert set(np.unique(payload["ids"]).tolist()) == {5, 6}
    x = np.asarray(payload["x"], np.float32)
    assert x.shape == (50, 3, 4, 4) and 0 <= x.min() < 0.1 and 0.9 < x.max() < 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("axis: {n: 1}", r"m\.onnx\.yaml:1: unknown key `axis`: did you mean `axes`"),
        ("axes: {samples: {least: 2}}", r"no input has the axis 'samples' \(there are n\)"),
        ("inputs: {z: {low: 0, high: 1}}", r"there is no input 'z' \(there are x\)"),
        ("inputs:\n  x: {low: 2, high: 1}", r"m\.onnx\.yaml:2: .*`low` \(2\) must be under `high` \(1\)"),
        ("inputs: {x: {axes: [batch]}}", "has 2 axes, and 1 are named"),
        ("outputs: {leave_out: [z]}", r"no output 'z' to leave out \(there are y\)"),
        ("outputs: {leave_out: [y]}", "leaves out all outputs"),
        ("- x", "a description is a mapping"),
        ("a: &b 1\nc: *b", "alias .* is refused"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_its_line(
    text: str, words: str, tmp_path: Path
) -> None:
    path = saved(model([node("Relu", "x")], {"x": ["N", "n"]}, {"y": ["N", "n"]}), tmp_path)
    (tmp_path / "m.onnx.yaml").write_text(text)
    with pytest.raises(InputError, match=words) as raised:
        taken(path)
    assert "\n" not in str(raised.value)


def test_what_fails_for_some_batches_only_is_not_taken_for_a_batch(tmp_path: Path) -> None:
    """It runs two rows and one, and there is no place for a fifth."""
    constants = {"places": np.zeros(4, np.float32), "zero": np.array([0], np.int64)}
    nodes = [
        node("Shape", "x", to="rows", start=0, end=1),
        node("Slice", "places", "zero", "rows", "zero", to="p"),
        node("Unsqueeze", "p", "last", to="q"),
        node("Add", "x", "q"),
    ]
    constants["last"] = np.array([1], np.int64)
    path = saved(model(nodes, {"x": ["N", 8]}, {"y": ["N", 8]}, constants), tmp_path)
    with pytest.raises(InputError, match="fails to run it at batch 5"):
        taken(path)


def test_an_input_without_a_declared_shape_is_described_beside_the_file(tmp_path: Path) -> None:
    made = model([node("Relu", "x")], {"x": ["N", 8]}, {"y": ["N", 8]})
    made.graph.input[0].type.tensor_type.ClearField("shape")
    path = saved(made, tmp_path)
    with pytest.raises(InputError, match=r"no declared shape: .*`inputs: \{x: \{axes: \[batch, n\]\}\}`"):
        taken(path)
    (tmp_path / "m.onnx.yaml").write_text("inputs: {x: {axes: [batch, n]}}")
    assert axes(taken(path)) == {"x": ("batch", "n"), "y": ("batch", "n")}
