"""An ONNX file that somebody sent: its weights are beside it, all of them count, and its names do nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.commands import export as story
from harness.model.export import export
from harness.model.resolve import resolve
from harness.model.runtime import Session
from harness.schema.errors import InputError
from tests.hostile import ACTING, HOSTILE
from tests.model.test_onnx_files import model, saved, taken, twice

pytestmark = pytest.mark.usefixtures("empty_cache")


def outside(value: np.ndarray[Any, Any], name: str, location: str) -> Any:
    tensor = numpy_helper.from_array(value, name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def scaled(location: str, *, within: str) -> Any:
    """x * w, where w is an initializer, a node's constant, or one of a branch."""
    w = outside(np.full(400, 2, np.float32), "w", location)
    scale = helper.make_node("Mul", ["x", "w"], ["y"])
    if within == "initializer":
        made = model([scale], {"x": ["N", 400]}, {"y": ["N", 400]})
        made.graph.initializer.append(w)
        return made
    constant = helper.make_node("Constant", [], ["w"], value=w)
    if within == "constant":
        return model([constant, scale], {"x": ["N", 400]}, {"y": ["N", 400]})
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 400])
    scale = helper.make_node("Mul", ["x", "w"], ["z"])
    branch = helper.make_graph([constant, scale], "b", [], [result])
    choose = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    return model([choose], {"x": ["N", 400]}, {"y": ["N", 400]}, {"c": np.array(True)})


@pytest.mark.parametrize("within", ["initializer", "constant", "branch"])
def test_weights_beside_the_file_count_wherever_the_graph_names_them(within: str, tmp_path: Path) -> None:
    saved(scaled("m.data", within=within), tmp_path)
    np.full(400, 2, np.float32).tofile(tmp_path / "m.data")
    first = taken(tmp_path / "m.onnx")
    np.full(400, 3, np.float32).tofile(tmp_path / "m.data")
    assert taken(tmp_path / "m.onnx").sha256 != first.sha256


@pytest.mark.parametrize("within", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("location", ["../m.data", "{top}/m.data", "link.data", "sub/../../m.data", ""])
def test_weights_elsewhere_are_refused(location: str, within: str, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    (folder / "sub").mkdir(parents=True)
    np.full(400, 2, np.float32).tofile(tmp_path / "m.data")
    (folder / "link.data").symlink_to(tmp_path / "m.data")
    saved(scaled(location.format(top=tmp_path), within=within), folder)
    with pytest.raises(InputError, match=r"outside|is missing|no regular file"):
        resolve("sent/m.onnx", tmp_path).content()
    with pytest.raises(InputError):
        export("sent/m.onnx", base_dir=tmp_path, progress=lambda _: None)


@pytest.mark.parametrize("named", ["hub/snapshots/r/onnx/model.onnx", "near/model.onnx", "near/model"])
def test_a_file_is_named_by_its_link_and_its_weights_are_beside_the_link_or_where_it_leads(
    named: str, tmp_path: Path
) -> None:
    """In Hugging Face's cache each file is a link, to a blob whose name says nothing."""
    blobs, snapshot, near = (tmp_path / name for name in ("hub/blobs", "hub/snapshots/r/onnx", "near"))
    for folder in (blobs, snapshot, near):
        folder.mkdir(parents=True)
    saved(scaled("model.onnx_data", within="initializer"), tmp_path)
    np.full(400, 2, np.float32).tofile(tmp_path / "model.onnx_data")
    for name, blob in (("m.onnx", "0123abcd"), ("model.onnx_data", "4567")):
        (blobs / blob).write_bytes((tmp_path / name).read_bytes())
        (snapshot / name.replace("m.onnx", "model.onnx")).symlink_to(f"../../../blobs/{blob}")
    (near / Path(named).name).symlink_to("../m.onnx")
    artifact = taken(tmp_path / named)
    assert (artifact.name, artifact.source) == ("model", f"ONNX file {Path(named).name}")
    rows = np.ones((3, 400), np.float32)
    np.testing.assert_array_equal(Session(artifact.path).run({"x": rows})["y"], 2 * rows)


def test_names_in_the_file_do_nothing_when_they_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = model([twice(HOSTILE, "y")], {HOSTILE: ["N", HOSTILE]}, {"y": ["N", HOSTILE]})
    made.graph.input[0].name = HOSTILE
    artifact = taken(saved(made, tmp_path))
    capsys.readouterr()
    story.show(artifact)
    out = capsys.readouterr().out
    assert "title" in out and not ACTING.search(out)
