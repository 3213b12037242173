"""Exports that are further from their source, and GPUs that use more for each inference."""

from __future__ import annotations

import numpy as np
import pytest

from harness.schema.model import ModelArtifact, ParityCase
from harness.schema.regression_section import Regression
from harness.schema.result import PointResult
from harness.verdict.export_parity import with_parity
from harness.verdict.judge import Round, RoundsOfPoint, judge
from harness.verdict.metrics import METRICS
from tests.report.factory import artifact, point_result
from tests.verdict.test_judge import CLOSED, made


def exported(*errors: float) -> ModelArtifact:
    cases = tuple(
        ParityCase(axes={"batch": 1}, traced=False, max_abs_error=error, max_rel_error=error)
        for error in errors
    )
    model = artifact()
    return model.model_copy(update={"parity": model.parity.model_copy(update={"cases": cases})})


@pytest.mark.parametrize(
    ("after", "outcome"), [(2e-5, "pass"), (5.2e-4, "regressed"), (4.8e-4, "pass"), (1e-6, "pass")]
)
def test_an_export_that_is_further_from_its_source(after: float, outcome: str) -> None:
    rng = np.random.default_rng(1)
    (verdict,) = judge([RoundsOfPoint("one", {}, [made(rng) for _ in range(12)])], Regression())
    assert verdict.outcome == "pass"
    found = with_parity(verdict, exported(1e-6, 1e-5), exported(after, 1e-7), 5e-4)
    parity = found.metrics[-1]
    assert (parity.metric, parity.outcome, found.outcome) == ("parity", outcome, outcome)
    assert (parity.baseline, parity.candidate) == (1e-5, after)
    source = exported(1e-6)
    itself = source.model_copy(
        update={"parity": source.parity.model_copy(update={"reference": "none: the file"})}
    )
    assert with_parity(verdict, itself, exported(after), 5e-4) == verdict, "a file that is its own source"
    assert with_parity(verdict, exported(6e-4), exported(1e-5), 5e-4).metrics[-1].outcome == "improved"


def with_energy(joules: float | None) -> PointResult:
    point = point_result(CLOSED, verdict="valid", gpu=True)
    assert point.gpu
    gpus = tuple(gpu.model_copy(update={"energy_j_per_inference": joules}) for gpu in point.gpu)
    used = CLOSED.model_copy(update={"server": CLOSED.server.model_copy(update={"kind": "gpu"})})
    return point.model_copy(update={"gpu": gpus, "point": used, "errors": 0, "execution_provider": "CUDA"})


def test_more_joules_of_an_inference_regress_and_unknown_ones_are_no_metric() -> None:
    (energy,) = (metric for metric in METRICS if metric.name == "energy")
    one, other = with_energy(0.5), with_energy(0.6)
    rounds = [Round(one, other, 12.0) for _ in range(8)]
    assert energy.of(one) == pytest.approx(0.5 * len(one.gpu or ()))
    (found,) = judge([RoundsOfPoint("one", {}, rounds)], Regression())
    (told,) = (metric for metric in found.metrics if metric.metric == "energy")
    assert told.outcome == "regressed" and told.change and told.change.value == pytest.approx(0.2)
    assert energy.of(with_energy(None)) is None
