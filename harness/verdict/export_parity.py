"""Whether the export of one arm is further from its source than the other's. It is known before anything is
measured, and no round changes it."""

from __future__ import annotations

from harness.schema.ab_result import Change, MetricVerdict, Outcome, PointVerdict
from harness.schema.model import Model
from harness.verdict.judge import worst


def with_parity(verdict: PointVerdict, baseline: Model, candidate: Model, margin: float) -> PointVerdict:
    """The point's verdict with that of its models' proofs. `margin`: by how much the largest relative error
    of an output may grow. As it was where either has no proof: a file that is its own source, or what a
    server has by itself."""
    before, after = (_largest_error(model) for model in (baseline, candidate))
    if before is None or after is None or not verdict.metrics:
        return verdict
    outcome, why = _decided(after - before, margin)
    parity = MetricVerdict(
        metric="parity",
        outcome=outcome,
        why=why,
        baseline=before,
        candidate=after,
        change=Change(value=after - before, interval_95=None),
        margin=margin,
        smallest=None,
    )
    metrics = (*verdict.metrics, parity)
    return verdict.model_copy(
        update={"metrics": metrics, "outcome": worst([each.outcome for each in metrics])}
    )


def _largest_error(model: Model) -> float | None:
    """None of a file that is its own source, and of what a server has by itself."""
    if model.parity is None or model.parity.reference.startswith("none"):
        return None
    return max((case.max_rel_error for case in model.parity.cases), default=None)


def _decided(change: float, margin: float) -> tuple[Outcome, str]:
    if change >= margin:
        return "regressed", "the largest error of the export grew by as much as the margin"
    if change <= -margin:
        return "improved", "the largest error of the export shrank by as much as the margin"
    return "pass", "the largest errors of both exports differ by less than the margin"
