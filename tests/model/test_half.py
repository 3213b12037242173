"""Models in FP16: the same function, proven as a GPU would compute it, or refused with the figures."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.model import half
from harness.model.export import export
from harness.model.parity import HALF_TOLERANCE, TOLERANCE
from harness.model.runtime import Session
from harness.schema.errors import HarnessError, InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype
from tests.model.test_onnx_files import model, saved

pytestmark = pytest.mark.usefixtures("empty_cache")

HERE = Path(__file__).parent


def quiet(_: str) -> None: ...


def exported(name: str, dtype: Dtype | None = "fp16", base: Path = HERE) -> ModelArtifact:
    return export(name, base_dir=base, progress=quiet, dtype=dtype)


def graph(nodes: Sequence[tuple[str, Sequence[str], str]], **constants: float) -> Any:
    made = [helper.make_node(kind, list(takes), [gives]) for kind, takes, gives in nodes]
    weights = {name: np.array(value, np.float32) for name, value in constants.items()}
    return model(made, {"x": ["N", 8]}, {"y": ["N", 8]}, weights)


def weights_of(artifact: ModelArtifact) -> set[int]:
    return {tensor.data_type for tensor in onnx.load(artifact.path).graph.initializer}


def test_minilm_in_fp16_is_proven_on_the_same_shapes_and_takes_the_same_requests(
    minilm: ModelArtifact, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(session_cache))
    made = exported("minilm")
    assert (made.name, made.dtype) == ("minilm-fp16", "fp16")
    assert (made.inputs, made.outputs) == (minilm.inputs, minilm.outputs)
    assert made.parity.reference == "torch"
    assert made.parity.tolerance == HALF_TOLERANCE
    assert [case.axes for case in made.parity.cases] == [case.axes for case in minilm.parity.cases]
    # Rounding to 11 bits shows, and no more than that.
    assert all(1e-4 < case.max_rel_error < 4e-3 for case in made.parity.cases)
    assert made.path.stat().st_size < 0.51 * minilm.path.stat().st_size
    assert {p.name for p in made.path.parent.iterdir()} == {"model.onnx", "artifact.json"}
    onnx.checker.check_model(onnx.load(made.path))
    again = export("minilm", base_dir=HERE, progress=lambda m: pytest.fail(m), dtype="fp16")
    assert again == made
    assert exported("minilm", "fp32") == exported("minilm", None) == minilm


def test_a_ready_file_is_compared_with_itself_in_fp32_and_a_probability_by_its_absolute_error() -> None:
    made = exported("ocr-detector")
    assert made.parity.reference == "the FP32 file"
    assert not any(case.traced for case in made.parity.cases)
    assert 0 < max(case.max_rel_error for case in made.parity.cases) < 2e-3
    assert all(case.max_rel_error == case.max_abs_error for case in made.parity.cases)


def test_a_model_whose_sums_overflow_is_refused() -> None:
    """Magika's norm sums squares to 129,260: infinite in FP16 on a GPU, though a CPU computes it right."""
    with pytest.raises(
        HarnessError, match=r"magika: it computes another function in FP16 .*leave out"
    ) as said:
        exported("magika")
    assert "\n" not in str(said.value)


OVERFLOWS = {
    "a product": graph([("Mul", "xa", "t"), ("Mul", "ta", "u"), ("Div", "ub", "y")], a=1e3, b=3e4),
    "an exponential": graph([("Mul", "xa", "t"), ("Exp", "t", "u"), ("Log", "u", "y")], a=8.0),
    "a square": graph([("Mul", "xa", "t"), ("Mul", "tt", "u"), ("Sqrt", "u", "y")], a=600.0),
}


@pytest.mark.parametrize("what", OVERFLOWS)
def test_an_overflow_between_two_operators_is_seen_though_the_cpu_has_none(what: str, tmp_path: Path) -> None:
    saved(OVERFLOWS[what], tmp_path)
    assert exported("m.onnx", None, tmp_path).parity.tolerance == TOLERANCE
    with pytest.raises(HarnessError, match=r"largest error inf .*under 65504"):
        exported("m.onnx", base=tmp_path)
    # What ONNX Runtime makes of the converted file on a CPU shows nothing of it.
    onnx.save(half.converted(onnx.load(tmp_path / "m.onnx"), "m"), tmp_path / "half.onnx")
    rows = np.full((2, 8), 2, np.float32)
    wanted, got = (Session(tmp_path / f"{name}.onnx").run({"x": rows})["y"] for name in ("m", "half"))
    np.testing.assert_allclose(got, wanted, rtol=1e-2)


def damaged(change: Callable[[Any], None]) -> Callable[[Any, str], Any]:
    convert = half.converted

    def convert_wrongly(made: Any, name: str) -> Any:
        result = convert(made, name)
        change(result.graph)
        return result

    return convert_wrongly


def without_mask(found: Any) -> None:
    for node in found.node:
        for place, taken in enumerate(node.input):
            if taken == "attention_mask":
                node.input[place] = "ones"
    like = helper.make_node("Sub", ["attention_mask", "attention_mask"], ["zeros"])
    one = numpy_helper.from_array(np.array(1, np.int64), "one")
    found.initializer.append(one)
    found.node.insert(0, like)
    found.node.insert(1, helper.make_node("Add", ["zeros", "one"], ["ones"]))


def without_a_norm(found: Any) -> None:
    norm = next(node for node in found.node if node.op_type == "LayerNormalization")
    norm.CopyFrom(helper.make_node("Identity", [norm.input[0]], [norm.output[0]]))


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize("change", [without_mask, without_a_norm])
def test_a_conversion_that_is_another_function_is_refused(
    change: Callable[[Any], None], session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(session_cache))
    monkeypatch.setattr(half, "converted", damaged(change))
    monkeypatch.setattr("harness.model.export._HALF_RECIPE", ())  # not from the cache
    with pytest.raises(HarnessError, match="another function in FP16 than in FP32"):
        exported("minilm")


def test_tokens_behind_a_mask_of_the_lowest_fp32_number_stay_hidden(tmp_path: Path) -> None:
    """As `attn_implementation="eager"` makes it: -3.4e38 is no FP16 number, -65504 less 20 is infinite."""
    lowest = float(np.finfo(np.float32).min)
    nodes = [("Where", ("hidden", "low", "x"), "t"), ("Add", "xt", "u")]
    made = [helper.make_node(k, list(i), [o]) for k, i, o in nodes]
    made.append(helper.make_node("Softmax", ["u"], ["y"], axis=-1))
    hidden = np.array([False] * 5 + [True] * 3)
    net = model(
        made, {"x": ["N", 8]}, {"y": ["N", 8]}, {"hidden": hidden, "low": np.array(lowest, np.float32)}
    )
    saved(net, tmp_path)
    artifact = exported("m.onnx", base=tmp_path)
    assert artifact.parity.cases
    onnx.save(half.rounding(onnx.load(artifact.path)), tmp_path / "rounding.onnx")
    for x in (np.full((1, 8), -30, np.float32), np.full((1, 8), 30, np.float32)):
        (got,) = Session(tmp_path / "rounding.onnx", as_written=True).run({"x": x}).values()
        np.testing.assert_allclose(got, [[0.2] * 5 + [0] * 3], atol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_and_fully_masked_texts_give_numbers_in_fp16(attention: str, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=50, max_position_embeddings=40, attn_implementation=attention, **tiny)
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "bert")
    artifact = exported("bert", base=tmp_path)
    assert all(case.max_rel_error < HALF_TOLERANCE / 2 for case in artifact.parity.cases)
    onnx.save(half.rounding(onnx.load(artifact.path)), tmp_path / "rounding.onnx")
    mask = np.zeros((3, 12), np.int64)
    mask[0], mask[1, :5] = 1, 1
    feeds = {"input_ids": np.arange(36).reshape(3, 12) % 50, "attention_mask": mask}
    (got,) = Session(tmp_path / "rounding.onnx", as_written=True).run(feeds).values()
    (wanted,) = Session(exported("bert", None, tmp_path).path).run(feeds).values()
    seen = mask.astype(bool)
    np.testing.assert_allclose(got[seen], wanted[seen], atol=2e-2)
    assert np.isfinite(got).all(), "a row of which nothing is seen is a number too"


@pytest.mark.parametrize("name", ["half_weights", "brain_weights"])
def test_a_torch_module_with_other_weights_is_converted_to_fp32_and_from_there_to_fp16(name: str) -> None:
    wide = exported(f"zoo:{name}", "fp32")
    assert (wide.name, wide.dtype) == (f"zoo.{name}-fp32", "fp32")
    assert [o.datatype for o in wide.outputs] == ["FP32"]
    assert wide.parity.tolerance == TOLERANCE
    made = exported(f"zoo:{name}", "fp16")
    assert (made.name, made.dtype) == (f"zoo.{name}-fp16", "fp16")
    assert TensorProto.FLOAT16 in weights_of(made)


def test_a_torch_module_in_fp16_stays_as_it_is_unless_asked() -> None:
    as_it_is = exported("zoo:half_weights", None)
    assert (as_it_is.name, as_it_is.dtype) == ("zoo.half_weights", None)
    assert [o.datatype for o in as_it_is.outputs] == ["FP16"]
    assert exported("zoo:linear", "fp32") == exported("zoo:linear", None)


def test_a_file_in_fp16_is_fp16_already_and_can_not_be_made_fp32(tmp_path: Path) -> None:
    twice = graph([("Mul", "xa", "y")], a=1.5)
    saved(half.converted(twice, "m"), tmp_path)
    assert exported("m.onnx", "fp16", tmp_path) == exported("m.onnx", None, tmp_path)
    with pytest.raises(InputError, match=r"m has FP16 weights, .*leave out `dtype: fp32`"):
        exported("m.onnx", "fp32", tmp_path)


def doubles(folder: Path) -> None:
    mul = helper.make_node("Mul", ["x", "a"], ["y"])
    one = {"a": np.array(1.5)}
    saved(model([mul], {"x": ["N", 8]}, {"y": ["N", 8]}, one, TensorProto.DOUBLE), folder)


def integers(folder: Path) -> None:
    add = helper.make_node("Add", ["x", "x"], ["y"])
    saved(model([add], {"x": ["N", 8]}, {"y": ["N", 8]}, kind=TensorProto.INT64), folder)


@pytest.mark.parametrize(
    ("make", "dtype", "words"),
    [
        (doubles, "fp16", "m has FP64 weights, and harness converts FP32: leave out `dtype: fp16`"),
        (doubles, "fp32", "m has FP64 weights"),
        (integers, "fp16", "m has no FP32 values to convert"),
    ],
)
def test_what_has_nothing_to_convert_is_refused(
    make: Callable[[Path], None], dtype: Dtype, words: str, tmp_path: Path
) -> None:
    make(tmp_path)
    with pytest.raises(InputError, match=words):
        exported("m.onnx", dtype, tmp_path)


def test_a_module_with_fp16_inputs_has_one_dtype() -> None:
    with pytest.raises(InputError, match=r"input 'x' is FP16, .*leave out `dtype`"):
        exported("zoo:half_inputs", "fp16")


def test_a_module_that_returns_bf16_is_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match="is BF16, which harness can't send: set `dtype: fp32`"):
        exported("zoo:brain_weights", None)


def test_the_converted_file_lists_its_nodes_in_the_order_of_their_values(tmp_path: Path) -> None:
    """ONNX asks for it, and the converter appends its casts at the end. Branches of an If count."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["t", "t"], ["b"])],
        "then",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Mul", ["t", "t"], ["c"])],
        "else",
        [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["t"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=other),
    ]
    made = model(nodes, {"x": ["N", 8]}, {"y": ["N", 8]}, {"flag": np.array(True)})
    saved(made, tmp_path)
    found = onnx.load(exported("m.onnx", base=tmp_path).path)
    onnx.checker.check_model(found)
    places = {output: place for place, node in enumerate(found.graph.node) for output in node.output}
    for place, node in enumerate(found.graph.node):
        branches = [n for a in node.attribute for n in a.g.node]
        for taken in itertools.chain(node.input, *(n.input for n in branches)):
            assert places.get(taken, -1) < place


def test_the_converter_leaves_python_path_alone() -> None:
    """It puts its own folder there, and modules such as `benchmark` and `models` would hide a user's."""
    import sys

    before = list(sys.path)
    sys.modules.pop("onnxruntime.transformers", None)
    half.converted(graph([("Mul", "xa", "y")], a=1.5), "m")
    assert sys.path == before
