"""`package.module:factory`: what works, and every refusal with its remedy."""

from pathlib import Path

import numpy as np
import pytest

from harness.model.export import export
from harness.model.factory import Factory
from harness.model.runtime import Session
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact

pytestmark = pytest.mark.usefixtures("empty_cache")

ZOO = Path(__file__).parent


def exported(name: str) -> ModelArtifact:
    return export(f"zoo:{name}", base_dir=ZOO, progress=lambda _: None)


def test_a_module_is_exported_with_the_names_and_axes_it_declares() -> None:
    import torch

    from tests.model import zoo

    artifact = exported("linear")
    assert artifact.kind == "torch"
    assert [(o.name, o.datatype, o.axes) for o in artifact.outputs] == [
        ("scores", "FP32", ("batch", 3)),
        ("label", "INT64", ("batch",)),
    ]
    rows = np.random.default_rng(3).standard_normal((7, 8)).astype(np.float32)
    got = Session(artifact.path).run({"x": rows})
    with torch.no_grad():
        scores, label = zoo.linear().module(torch.from_numpy(rows))
    np.testing.assert_allclose(got["scores"], scores.numpy(), atol=1e-6)
    np.testing.assert_array_equal(got["label"], label.numpy())
    assert exported("other_weights").sha256 != artifact.sha256


def test_the_weights_are_part_of_what_names_an_export_in_the_cache() -> None:
    first, same, other = (
        Factory(f"zoo:{name}", ZOO).content() for name in ("linear", "linear", "other_weights")
    )
    assert first == same != other


def test_the_declared_sizes_of_an_axis_are_the_ones_that_are_proven() -> None:
    artifact = exported("declared_sizes")
    assert {case.axes["samples"] % 16 for case in artifact.parity.cases} == {0}
    assert artifact.outputs[0].axes == ("batch", "sums_axis1")


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("frozen_branch", r"another function than its source: largest error [\d.]+ \(2 of .*samples 41"),
    ],
)
def test_an_export_that_is_another_function_is_refused_with_the_figures(factory: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        exported(factory)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("named_like_an_inner_value", "doesn't load .*'embedding' has the name of a value inside .*rename"),
        ("mixes_rows", "depends on the rows beside it .* can't batch"),
        ("total", r"output 'output_0' is \[\] for a batch of 2.*one row per request row"),
        ("sum_of_rows", r"output 'output_0' is \[8\] for a batch of 2"),
        ("unrolled", "torch can't export .*static shape of 2"),
        ("value_branch", "torch can't export .*data-dependent"),
        ("undeclared_sizes", r"the module itself fails on x \[2, 24\].*Axis\("),
        ("bare_module", "returned Linear, and must return"),
        ("no_batch", "first axis of input 'x' is 2, and must be 'batch'"),
        ("one_name_too_few", "returns 2 tensors, and `outputs` names 1"),
        ("random", r"zoo\.random is random \(Dropout\): two runs with the same inputs differ at batch 2"),
        ("raises", "the factory raised RuntimeError: weights were not found"),
        ("not_callable", "has no function 'not_callable'; it has .*linear"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_what_cannot_be_served_is_refused_saying_why(
    factory: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=words) as raised:
        exported(factory)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")  # torch prints graphs when an export fails


def test_values_that_are_no_numbers_on_both_sides_are_equal_and_told_of() -> None:
    artifact = exported("not_a_number")
    assert {case.max_rel_error for case in artifact.parity.cases} == {0}
    assert artifact.note == "100% of the values of output 'output_0' are NaN in the proof"


def test_the_same_module_with_another_output_name_loads() -> None:
    assert exported("named_well").outputs[0].axes == ("batch", 8)


def test_a_module_that_is_not_there_is_an_input_error() -> None:
    with pytest.raises(InputError, match="No module named 'nowhere_at_all'"):
        export("nowhere_at_all:make", base_dir=ZOO, progress=lambda _: None)
