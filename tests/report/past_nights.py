"""Runs and nights of the past as the index has them, without a folder of any."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from harness.report.page.scenario_page import ScenarioTrends
from harness.schema.history_result import HistoryRun, RunKind, RunOutcome, TrendSeries, TrendValue
from harness.schema.night_result import Baseline

FIRST = datetime(2024, 1, 1, 2, tzinfo=UTC)
SCENARIOS = ("quickstart", "tune-demo", "gpu-sizes", "weekly")
OUTCOMES: dict[RunKind, tuple[RunOutcome, ...]] = {
    "run": ("valid", "met", "missed"),
    "tune": ("found",),
    "nightly": ("pass", "pass", "regressed", "improved", "inconclusive", "no baseline"),
    "ab": ("pass", "regressed"),
}


def at(day: int) -> str:
    return (FIRST + timedelta(days=day)).isoformat(timespec="milliseconds")


def past_run(number: int, **changed: object) -> HistoryRun:
    """The run of so many hours after the first; what it is goes with its number."""
    kind = list(OUTCOMES)[number % len(OUTCOMES)]
    begun = FIRST + timedelta(hours=number)
    scenario = SCENARIOS[number // 5 % len(SCENARIOS)]
    whole = dict(
        folder=f"{begun:%Y%m%dT%H%M%SZ}-{scenario}",
        run_id=f"r{number}",
        kind=kind,
        scenario=scenario,
        model="minilm",
        host=f"bench-{number // 11 % 3 + 1}",
        hardware=("2× NVIDIA H100 80GB HBM3", "AMD EPYC 9354")[number // 7 % 2],
        harness_version="0.2.0",
        started_at=begun.isoformat(timespec="milliseconds"),
        finished_at=None,
        outcome=OUTCOMES[kind][number // 4 % len(OUTCOMES[kind])],
        why=None,
        points=2,
        valid_points=2,
        point="8 users",
        p99_s=0.02 + number % 7 / 1000,
        throughput_per_s=120.0 + number % 11,
        thinned_at=None,
    )
    return HistoryRun(**(whole | changed))  # type: ignore[arg-type]


def past_runs(many: int) -> tuple[HistoryRun, ...]:
    """The newest first, as the index gives them."""
    return tuple(past_run(number) for number in reversed(range(many)))


def nights(many: int, points: int = 1, scenario: str = "quickstart") -> ScenarioTrends:
    """A night a day: 10% slower for the middle third, which they say; Triton was another in the last third;
    the baseline was accepted in the middle."""
    rng = np.random.default_rng(7)
    third = many // 3

    def outcome(day: int) -> RunOutcome:
        return "no baseline" if day == 0 else "regressed" if third <= day < 2 * third else "pass"

    runs = [
        past_run(
            24 * day,
            kind="nightly",
            scenario=scenario,
            folder=f"night-{day:05}",
            outcome=outcome(day),
            why=f"it was night {day}",
            host="bench-1",
        )
        for day in range(many)
    ]

    def series(point: str, metric: str, usual: float, noise: float) -> TrendSeries:
        slower = np.where((np.arange(many) >= third) & (np.arange(many) < 2 * third), 1.1, 1.0)
        slower = 1 / slower if metric == "throughput" else slower if metric in ("p50", "p99") else slower**0
        found = usual * slower * np.exp(noise * rng.normal(size=many))
        return TrendSeries(
            point=point,
            model="minilm",
            host="bench-1",
            hardware="AMD EPYC 9354",
            values=tuple(
                TrendValue(
                    folder=run.folder,
                    kind="nightly",
                    started_at=run.started_at,
                    harness_version="0.2.0",
                    triton_version="2.51.0" if day < 2 * third else "2.52.0",
                    driver=None,
                    point_id=None,
                    value=float(found[day]),
                    interval_95=(float(found[day] * (1 - 2 * noise)), float(found[day] * (1 + 2 * noise)))
                    if metric in ("p50", "p99", "throughput")
                    else None,
                )
                for day, run in enumerate(runs)
            ),
        )

    names = [f"{users} users" for users in range(1, points + 1)]
    usual = {"p50": (0.012, 0.01), "p99": (0.03, 0.05), "throughput": (120.0, 0.01), "error_rate": (0.0, 0.0)}
    baseline = Baseline(
        scenario=scenario,
        accepted_at=at(many // 2),
        reason="twice the layers",
        night=None,
        harness_version="0.2.0",
        resolved={},
        models=(),
        environment=None,
    )
    worse = {run.folder: ("regressed", "+10.0% is over the margin of 3%") for run in runs[third : 2 * third]}
    return ScenarioTrends(
        scenario=scenario,
        runs=runs[::-1],
        trends={m: [series(name, m, *of) for name in names] for m, of in usual.items()},
        judged={(name, metric): worse for name in names for metric in ("p50", "throughput")},
        baselines=[baseline],
        hrefs={run.folder: f"../{run.folder}/ab.html" for run in runs if run.folder != "night-00003"},
    )
