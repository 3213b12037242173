"""What is compared of a point: each metric of one arm's figures, and how two arms differ in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.analysis.gpu import may_use
from harness.schema.ab_result import Part
from harness.schema.regression_section import Metric
from harness.schema.result import PointResult

SHARE_RESOLUTION = 1e-4
"""Rounds whose ratios differ by less than this aren't told apart."""


RARE = 0.3
"""Requests of a round that may fail where none was seen to: so that of ten rounds without an error the upper
limit is that of the rule of three (Hanley and Lippman-Hand, JAMA 249, 1983), 3 of all their requests."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric."""

    name: Metric
    more_is_worse: bool
    of: Callable[[PointResult], float | None]
    """None where the point doesn't have it."""
    by_ratio: bool = True
    """Whether arms are compared by the logarithm of their ratio, or by their difference."""

    def worse_by(self, baseline: PointResult, candidate: PointResult) -> float | None:
        """How much worse the candidate is in one round, above 0, or better; None where either hasn't it."""
        before, after = self.of(baseline), self.of(candidate)
        if before is None or after is None:
            return None
        sign = 1.0 if self.more_is_worse else -1.0
        if not self.by_ratio:
            return sign * (after - before)
        if before <= 0 or after <= 0:
            return None
        return sign * math.log(after / before)

    def resolution(self, requests: int) -> float:
        """The least deviation of rounds of so many requests: smaller differences aren't told apart."""
        return SHARE_RESOLUTION if self.by_ratio else RARE / max(requests, 1)

    def change(self, worse_by: float) -> float:
        """The change that is so much worse: as a share, or as a difference."""
        signed = worse_by if self.more_is_worse else -worse_by
        return math.expm1(signed) if self.by_ratio else signed

    def limit(self, margin: float) -> float:
        """How much worse is a change by the margin."""
        if not self.by_ratio:
            return margin
        return math.log1p(margin) if self.more_is_worse else -math.log1p(-margin)


def percentile(name: str) -> Callable[[PointResult], float | None]:
    """The sample's own value where it isn't supported: arms with as many requests err alike."""

    def of(point: PointResult) -> float | None:
        value: float | None = getattr(point.latency_s, name)
        return point.latency_s.sample.get(name) if value is None else value

    return of


def _throughput(point: PointResult) -> float | None:
    return None if point.point.load.open_loop else point.throughput_requests_per_s


def _error_rate(point: PointResult) -> float | None:
    return point.errors / point.requests if point.requests else None


def _gpu_memory(point: PointResult) -> float | None:
    known = [gpu.server_memory_bytes_max for gpu in point.gpu or ()]
    held = [float(memory) for memory in known if memory]
    return sum(held) or None


def _energy(point: PointResult) -> float | None:
    """Joules of an inference, of all GPUs that the server may use; None where one of them doesn't tell."""
    used = [gpu for gpu in point.gpu or () if may_use(point.point, gpu.device, point.execution_provider)]
    told = [gpu.energy_j_per_inference for gpu in used]
    return math.fsum(each for each in told if each is not None) if told and None not in told else None


METRICS = (
    Compared("throughput", more_is_worse=False, of=_throughput),
    Compared("p50", more_is_worse=True, of=percentile("p50")),
    Compared("p99", more_is_worse=True, of=percentile("p99")),
    Compared("error_rate", more_is_worse=True, of=_error_rate, by_ratio=False),
    Compared("gpu_memory", more_is_worse=True, of=_gpu_memory),
    Compared("energy", more_is_worse=True, of=_energy),
)

PARTS: tuple[Part, ...] = ("client", "network", "queue", "input", "compute", "output")


def part_grew(part: Part, baseline: PointResult, candidate: PointResult) -> float | None:
    """How much longer a request spends there, over the baseline's whole time."""
    before, after = baseline.time_s, candidate.time_s
    whole = baseline.latency_s.mean
    if before is None or after is None or not whole:
        return None
    one, other = getattr(before, f"{part}_s"), getattr(after, f"{part}_s")
    return None if one is None or other is None else (other - one) / whole
