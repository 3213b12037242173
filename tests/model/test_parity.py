"""The measure of an error, and the shapes it is taken on."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.comparison import difference
from harness.model.shapes import proving_feeds, proving_shapes
from harness.model.signature import Axis, Input, Signature
from harness.schema.errors import InputError


def test_the_relative_error_is_over_the_references_largest_value_of_the_worst_output() -> None:
    wanted = {"a": np.array([0.0, -200.0]), "b": np.array([0.5, 0.25])}
    got = {"a": np.array([1.0, -200.0]), "b": np.array([0.5, 0.3])}
    off = difference(got, wanted)
    assert off.absolute == 1.0
    assert off.relative == pytest.approx(0.05 / 0.5)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        ([1.0, math.nan], [1.0, 1.0]),
        ([1.0, 1.0], [1.0, math.nan]),
        ([math.nan], [math.inf]),
        ([math.inf], [-math.inf]),
        ([math.inf], [1.0]),
        ([1.0], [1.0, 1.0]),
        ([1e-30], [0.0]),
    ],
)
def test_what_cannot_be_compared_is_never_within_a_tolerance(got: list[float], wanted: list[float]) -> None:
    assert difference({"y": np.array(got)}, {"y": np.array(wanted)}).relative == math.inf


def test_the_same_nan_and_the_same_infinity_are_equal_and_the_numbers_beside_them_count() -> None:
    odd = [math.nan, math.inf, -math.inf]
    off = difference({"y": np.array([*odd, 1.0, 4.0])}, {"y": np.array([*odd, 1.0, 4.4])})
    assert off.relative == pytest.approx(0.4 / 4.4)
    assert difference({"y": np.array(odd)}, {"y": np.array(odd)}).relative == 0


@pytest.mark.parametrize("mask", [-65504.0, -1e9, float(np.finfo(np.float32).min)])
def test_what_a_mask_hides_is_no_scale_for_the_logits_beside_it(mask: float) -> None:
    off = difference({"y": np.array([mask, 3.0, 2.0])}, {"y": np.array([mask, 3.0, 2.3])})
    assert off.relative == pytest.approx(0.1)
    assert difference({"y": np.array([mask, 3.0])}, {"y": np.array([3.0, mask])}).relative >= 1
    assert difference({"y": np.array([mask + 1, 3.0])}, {"y": np.array([mask, 3.0])}).relative < 1e-4
    sums = {"y": np.array([mask, -mask / 2, 1.0])}  # as large without a mask
    assert difference({"y": np.array([mask, -mask / 2, 1.5])}, sums).relative < 1e-4


def test_equal_zeros_and_labels_are_equal() -> None:
    assert difference({"y": np.zeros(3)}, {"y": np.zeros(3)}).relative == 0
    assert difference({"y": np.array([4, 7])}, {"y": np.array([4, 6])}).relative == pytest.approx(1 / 6)


AXES = st.builds(
    lambda least, extra, step: Axis("n", least, least + step + extra, step),
    st.integers(1, 2000), st.integers(0, 5000), st.integers(1, 64),
)  # fmt: skip


@given(AXES, st.integers(0, 10_000))
def test_the_nearest_size_is_valid_and_none_is_nearer(axis: Axis, size: int) -> None:
    assert axis.most is not None
    valid = [n for n in range(axis.least, axis.most + 1) if n % axis.multiple_of == 0]
    assert axis.nearest(size) in valid
    assert abs(axis.nearest(size) - size) == min(abs(n - size) for n in valid)
    assert axis.allows(size) == (size in valid)


@given(AXES)
def test_proving_shapes_are_valid_and_hold_batch_1_and_more(axis: Axis) -> None:
    signature = Signature((Input("x", "FP32", ("batch", "n")),), (axis,))
    shapes = proving_shapes(signature)
    assert all(axis.allows(sizes["n"]) for sizes in shapes)
    assert {sizes["batch"] for sizes in shapes} == {1, 2, 5}
    assert shapes[0]["batch"] == 2


def test_an_odd_multiple_is_proven_too_because_a_branch_on_evenness_is_frozen() -> None:
    axes = tuple(Axis(name, 16, 1024, 16) for name in ("height", "width"))
    signature = Signature((Input("x", "FP32", ("batch", 3, "height", "width")),), axes)
    shapes = proving_shapes(signature)
    for axis in ("height", "width"):
        assert {sizes[axis] // 16 % 2 for sizes in shapes} == {0, 1}


def test_an_axis_without_a_valid_size_is_refused() -> None:
    with pytest.raises(InputError, match="no valid size"):
        Axis("n", least=33, most=63, multiple_of=32)


def test_masks_of_the_proof_hide_some_tokens_and_never_all() -> None:
    signature = Signature((Input("attention_mask", "INT64", ("batch", "tokens"), 1, 2),))
    mask = proving_feeds(signature, {"batch": 4, "tokens": 10}, seed=0)["attention_mask"]
    assert mask.sum(1).tolist() == [10, 6, 10, 6]  # type: ignore[attr-defined]
