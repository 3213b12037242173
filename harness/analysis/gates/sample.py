"""Gates that ask whether the sample can carry the answer: it was steady, and large enough."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate


@gate("the point was never steady", verdict="inconclusive", limit="drift")
def never_steady(evidence: Evidence) -> Iterator[str]:
    steady = evidence.facts.steady
    if steady.steady is False:
        yield f"never steady: {steady.why}"


@gate("the sample doesn't support even a median", verdict="inconclusive")
def no_median(evidence: Evidence) -> Iterator[str]:
    latency, requests = evidence.facts.latency, evidence.facts.requests
    if latency.p50 is None:
        why = latency.unsupported.get("p50", f"{requests} requests are too few")
        yield f"not even a median is supported ({why}): raise measure.duration_s or at_most_s"


@gate(
    "an objective's figure isn't supported by the sample, and its largest value doesn't answer either",
    verdict="inconclusive",
)
def objective_unknown(evidence: Evidence) -> Iterator[str]:
    for check in evidence.facts.objective:
        if check.met is None and check.observed is None:
            yield (
                f"the objective {check.name} can't be judged, because the sample can't support the figure: "
                "raise measure.duration_s or at_most_s"
            )


GATES = (never_steady, no_median, objective_unknown)
