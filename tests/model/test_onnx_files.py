"""Ready ONNX files: what is made of their axes, and which are refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.model import onnx_file
from harness.model.check import inputs_of
from harness.model.export import export
from harness.model.runtime import Session
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact

pytestmark = pytest.mark.usefixtures("empty_cache")


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str | None]],
    outputs: dict[str, Sequence[int | str | None]],
    constants: dict[str, Any] | None = None,
    kind: int = TensorProto.FLOAT,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, kind, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, kind, s) for n, s in outputs.items()],
        [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(made: Any, folder: Path, name: str = "m.onnx") -> Path:
    onnx.save(made, folder / name)
    return folder / name


def taken(path: Path) -> ModelArtifact:
    return export(path.name, base_dir=path.parent, progress=lambda _: None)


def twice(x: str = "x", y: str = "y") -> Any:
    return helper.make_node("Add", [x, x], [y])


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (["N", 3, "h.0", "w.0"], ("batch", 3, "height", "width")),
        (["?", "frames"], ("batch", "frames")),
        ([None, None], ("batch", "x_axis1")),
        (["batch", "batch"], ("batch", "x_axis1")),
        (["n", "a b", 7], ("batch", "x_axis1", 7)),
    ],
)
def test_every_dynamic_axis_gets_a_name_that_a_scenario_can_write(
    declared: list[int | str | None], named: tuple[int | str, ...], tmp_path: Path
) -> None:
    path = saved(model([twice()], {"x": declared}, {"y": declared}), tmp_path)
    assert inputs_of("m.onnx", base_dir=tmp_path).inputs[0].axes == named
    artifact = taken(path)
    assert artifact.inputs[0].axes == named
    assert artifact.outputs[0].axes == named
    written = onnx.load(artifact.path).graph.output[0].type.tensor_type.shape.dim
    assert tuple(d.dim_param or d.dim_value for d in written) == named


def test_the_same_symbol_is_the_same_axis_in_every_input(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    saved(model([add], {"a": ["N", "d.1"], "b": ["N", "d.1"]}, {"y": ["N", "d.1"]}), tmp_path)
    assert inputs_of("m.onnx", base_dir=tmp_path).dynamic == ("a_axis1",)
    assert taken(tmp_path / "m.onnx").dynamic_axes == ("a_axis1",)


def test_weights_beside_the_file_are_taken_into_it_and_count_for_the_cache(tmp_path: Path) -> None:
    scale = helper.make_node("Mul", ["x", "w"], ["y"])

    def save(factor: float) -> Path:
        made = model([scale], {"x": ["N", 400]}, {"y": ["N", 400]}, {"w": np.full(400, factor, np.float32)})
        onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
        return tmp_path / "m.onnx"

    first = taken(save(2))
    assert [f.name for f in first.path.parent.iterdir() if "data" in f.name] == []
    assert Session(first.path).run({"x": np.ones((1, 400), np.float32)})["y"][0, 0] == 2
    (tmp_path / "m.data").unlink()
    second = taken(save(3))
    assert second.path != first.path
    (tmp_path / "m.data").unlink()
    with pytest.raises(InputError, match=r"keeps its weights in m.data, which is missing"):
        taken(tmp_path / "m.onnx")


def test_many_weights_stay_beside_the_file_and_count_for_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_TAKEN_IN", 1000)
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "v"], ["y"])]
    made = model(
        nodes,
        {"x": ["N", 400]},
        {"y": ["N", 400]},
        {"w": np.full(400, 2, np.float32), "v": np.arange(400, dtype=np.float32)},
    )
    name = "model.onnx.data"
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location=name, size_threshold=0)
    first = taken(tmp_path / "m.onnx")
    data = first.path.with_name(name)
    assert data.stat().st_size >= 3200 > first.path.stat().st_size
    answer = Session(first.path).run({"x": np.ones((1, 400), np.float32)})["y"]
    assert np.array_equal(answer[0], np.arange(400) + 2)
    assert taken(tmp_path / "m.onnx") == first
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\1")
    taken(tmp_path / "m.onnx")
    assert np.array_equal(Session(first.path).run({"x": np.ones((1, 400), np.float32)})["y"], answer)
    with (tmp_path / name).open("ab") as weights:
        weights.truncate(1700)
    with pytest.raises(InputError, match=r"data has 1700 bytes, and the weights 'v' end at 3200"):
        taken(tmp_path / "m.onnx")


def test_a_graph_with_more_weights_than_one_file_holds_is_written_as_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "MOST_WITHIN", 1000)
    scale = helper.make_node("Mul", ["x", "w"], ["y"])
    made = model([scale], {"x": ["N", 400]}, {"y": ["N", 400]}, {"w": np.full(400, 2, np.float32)})
    onnx.save(made, tmp_path / "m.onnx")
    artifact = taken(tmp_path / "m.onnx")
    assert artifact.path.with_name("model.onnx.data").stat().st_size == 1600
    assert Session(artifact.path).run({"x": np.ones((1, 400), np.float32)})["y"][0, 0] == 2


def reshape(*shape: int) -> tuple[Any, dict[str, Any]]:
    return helper.make_node("Reshape", ["x", "s"], ["y"]), {"s": np.array(shape, np.int64)}


def test_a_file_is_refused_that_nothing_can_be_sent_to_or_that_mixes_rows(tmp_path: Path) -> None:
    bad = {
        "takes no input": model([], {}, {"y": [1]}, {"y": np.ones(1, np.float32)}),
        "depends on the rows beside it": model(
            [helper.make_node("CumSum", ["x", "s"], ["y"])],
            {"x": ["N", 8]},
            {"y": ["N", 8]},
            {"s": np.array(0, np.int64)},
        ),
        "'x' is STRING, which harness can't send": model(
            [helper.make_node("Identity", ["x"], ["y"])],
            {"x": ["N", 8]},
            {"y": ["N", 8]},
            kind=TensorProto.STRING,
        ),
        "doesn't load the ONNX file .*NoSuchOperator": model(
            [helper.make_node("NoSuchOperator", ["x"], ["y"])], {"x": ["N", 8]}, {"y": ["N", 8]}
        ),
    }
    for number, (words, made) in enumerate(bad.items()):
        path = saved(made, tmp_path, f"bad{number}.onnx")
        with pytest.raises(InputError, match=words) as raised:
            taken(path)
        assert "\n" not in str(raised.value)


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x00\xff" * 50, b"not a model"):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.onnx"):
            taken(tmp_path / "m.onnx")


def test_sizes_that_an_unlimited_axis_does_not_take_are_left_out_of_the_record(tmp_path: Path) -> None:
    node, constants = reshape(0, -1, 8)
    path = saved(model([node], {"x": ["N", "samples"]}, {"y": ["N", "groups", 8]}, constants), tmp_path)
    artifact = taken(path)
    assert [case.axes for case in artifact.parity.cases] == [
        {"batch": 2, "samples": 24},
        {"batch": 1, "samples": 8},
        {"batch": 1, "samples": 64},
    ]
    assert artifact.outputs[0].axes == ("batch", "y_axis1", 8)


def test_a_file_that_is_newer_than_onnx_runtime_is_refused_with_both_versions(tmp_path: Path) -> None:
    newer = model([twice()], {"x": ["N", 4]}, {"y": ["N", 4]})
    newer.ir_version = 99
    opset = model([twice()], {"x": ["N", 4]}, {"y": ["N", 4]})
    opset.opset_import[0].version = 98
    for made, words in ((newer, r"IR version 99, and ONNX"), (opset, r"opset 98 of ai\.onnx, and ONNX")):
        with pytest.raises(InputError, match=rf"{words} Runtime [\d.]+ reads up to \d+: export it again"):
            taken(saved(made, tmp_path))


def test_what_onnx_runtime_refuses_is_said_without_places_in_its_source(tmp_path: Path) -> None:
    node, constants = reshape(7, 9)
    with pytest.raises(InputError, match=r"Reshape node.*input_shape_size == requested") as raised:
        taken(saved(model([node], {"x": ["N", "n"]}, {"y": ["N", "n"]}, constants), tmp_path))
    assert "/onnxruntime_src" not in str(raised.value)
    assert "onnxruntime::" not in str(raised.value)
