"""Torch modules as others write them: exported, or refused with the remedy that works."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.model.export import export
from harness.model.factory import Factory
from harness.model.runtime import Session
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype

pytestmark = pytest.mark.usefixtures("empty_cache")

HERE = Path(__file__).parent
ROWS = np.random.default_rng(3).standard_normal((2, 7, 8)).astype(np.float32)


def exported(name: str, dtype: Dtype | None = None) -> ModelArtifact:
    return export(f"tests.model.odd_modules:{name}", base_dir=HERE, progress=lambda _: None, dtype=dtype)


def test_wrappers_keywords_and_nested_results_are_exported() -> None:
    import torch

    from tests.model.odd_modules import Apart

    artifact = exported("wrapped")
    assert [(o.name, o.axes) for o in artifact.outputs] == [
        ("scores", ("batch", 3)),
        ("more_0", ("batch", 8)),
        ("more_1_0", ("batch", 8)),
    ]
    x, y = ROWS
    got = Session(artifact.path).run({"x": x, "y": y})
    with torch.no_grad():
        wanted = Apart()(torch.from_numpy(x), y=torch.from_numpy(y))["scores"].numpy()
    np.testing.assert_allclose(got["scores"], wanted, atol=1e-6)
    np.testing.assert_array_equal(got["more_1_0"], y)


def test_a_negated_view_is_a_tensor_like_others_and_nothing_is_compiled() -> None:
    artifact = exported("views")
    assert [o.name for o in artifact.outputs] == ["best", "rest_scores", "rest_boxes"]
    got = Session(artifact.path).run({"x": ROWS[0]})
    np.testing.assert_allclose(got["best"], -np.fft.fft(2 * ROWS[0]).imag, atol=1e-5)


def test_a_module_in_bf16_is_refused_and_the_remedy_works() -> None:
    with pytest.raises(InputError, match=r"doesn't load .*its weights are BF16: set `dtype: fp32`"):
        exported("brain_cast")
    assert exported("brain_cast", "fp32").outputs[0].datatype == "FP32"


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (
            "brain",
            r"itself fails on x \[2, 8\] .*its weights are bfloat16: set `dtype: fp32` \(`--dtype fp32`\)",
        ),
        ("sparse", "output_0 is sparse .*return a dense tensor"),
        ("ragged", "output_0 is ragged .*to_padded_tensor"),
        ("complex_numbers", "output_0 is complex: return `torch.view_as_real` of it, or its parts"),
        (
            "conjugated",
            "output_0 is complex: return `torch.view_as_real` of its `resolve_conj\\(\\)`, or its",
        ),
        ("quantized", "output_0 is quantized: return `dequantize"),
        ("eight_bits", "output_0 is torch.float8_e4m3fn, which harness can't send"),
        ("a_number", "output_1 is a float: return only tensors"),
        ("nothing", "returns nothing"),
        ("lazy", "'weight' have no size yet .*call the module once on an example in the factory"),
        ("meta", r"'weight' have no values \(device meta\): .*assign=True"),
        ("script", "torch can't export .*return the module that its TorchScript was made of"),
        ("another_keyword", "doesn't take the inputs x .*keyword-only the name of its keyword"),
        ("too_many_inputs", "doesn't take the inputs x, y .*an Input for each of its parameters"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_a_remedy(factory: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        exported(factory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("factory", "axes"),
    [
        ("conjugated_and_resolved", ("batch", 5, 2)),
        ("lazy_called", ("batch", 4)),
        ("meta_assigned", ("batch", 4)),
    ],
)
def test_a_remedy_that_is_named_works(factory: str, axes: tuple[str | int, ...]) -> None:
    assert [output.axes for output in exported(factory).outputs] == [axes]


def test_the_weights_of_a_wrapped_module_have_the_names_of_the_module() -> None:
    made = Factory("tests.model.odd_modules:wrapped", HERE).load().module
    assert [name for name, _ in made.named_parameters()] == ["layer.weight", "layer.bias"]


def forward_of(*names: str, keyword: tuple[str, ...] = (), star: bool = False, rest: bool = False) -> Any:
    """A module whose forward has these parameters, and returns what it got."""
    import torch

    space: dict[str, Any] = {}
    separator = ["*args"] if star else ["*"] if keyword else []
    parameters = [*names, *separator, *keyword, *(["**rest"] if rest else [])]
    exec(f"def forward(self, {', '.join(parameters)}): return locals()", space)
    return type("Made", (torch.nn.Module,), {"forward": space["forward"]})()


@pytest.mark.parametrize(
    ("module", "inputs", "got"),
    [
        (dict(names=("a", "b")), ("x", "y"), {"a": "x", "b": "y"}),
        (dict(names=("a",), keyword=("x",)), ("x", "y"), {"a": "y", "x": "x"}),
        (dict(names=("a",), star=True), ("x", "y", "z"), {"a": "x", "args": ("y", "z")}),
        (dict(names=("a",), rest=True), ("x", "y"), {"a": "x", "rest": {"y": "y"}}),
        (dict(names=(), rest=True), ("x", "y"), {"rest": {"x": "x", "y": "y"}}),
        (dict(names=("a", "b=None")), ("x",), {"a": "x", "b": None}),
    ],
    ids=str,
)
def test_each_input_goes_where_forward_takes_it(
    module: dict[str, Any], inputs: tuple[str, ...], got: dict[str, Any]
) -> None:
    from harness.model.torch_module import Called

    made = forward_of(*module.pop("names"), **module)
    called = Called(made, inputs, "m").made(inputs)
    assert {n: v for n, v in called.items() if n not in ("self", "__class__")} == got


def test_results_are_named_after_their_place_and_none_is_nothing() -> None:
    from harness.model.torch_module import results
    from tests.model.odd_modules import Found, Scores

    def names(made: Any) -> list[str]:
        return [name for name, _ in results(made)]

    assert names(1) == names([1]) == ["output_0"]
    assert names((1, None, 2)) == ["output_0", "output_2"]
    assert names(OrderedDict(a=1, b=(2, {"c": 3}))) == ["a", "b_0", "b_1_c"]
    assert names(Scores(1, Found(2, None))) == ["scores", "boxes_best"]
    assert names({"a b": 1, "ok": 2, 3: 4}) == ["output_0", "ok", "output_3"]
    assert names({"a": {"b": 1}, "a_b": 2}) == ["output_0", "output_1"]
