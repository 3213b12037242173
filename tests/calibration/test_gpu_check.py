"""What fails a GPU check, over made-up runs."""

from __future__ import annotations

from harness.commands.gpu_check import _client, _energy, _failures
from harness.schema.gpu_check import Comparison, EnergyCheck
from harness.schema.result import GpuFigures, PointResult, RunResult
from tests.report.factory import DEMO, artifact, run_of

COMPARISON = Comparison(
    model=artifact(name="encoder"), axes={"tokens": 128}, batch=32, load="concurrency 4", rounds=(), ratio=0.9
)


def check(ratio: float) -> EnergyCheck:
    return EnergyCheck(
        label="a point",
        device=0,
        seconds=10.0,
        energy_j=5000.0,
        energy_j_by_power=5000.0 * ratio,
        ratio=ratio,
    )


def run() -> RunResult:
    """Every point valid, on a GPU, and its objective met."""
    made = run_of(DEMO, gpu=True)
    points = (p for p in made.points if p.verdict == "valid")
    met = [
        p.model_copy(update={"objective": tuple(c.model_copy(update={"met": True}) for c in p.objective)})
        for p in points
    ]
    return made.model_copy(update={"points": tuple(met), "planned": tuple(p.id for p in met)})


def failures(measured: RunResult, energy: list[EnergyCheck], ratio: float | None = 0.9) -> list[str]:
    return list(_failures(measured, COMPARISON.model_copy(update={"ratio": ratio}), energy, recorded=True))


def test_a_run_that_is_valid_and_agrees_passes() -> None:
    assert failures(run(), [check(1.0), check(0.91), check(1.09)]) == []


def test_energy_that_does_not_agree_fails_it_and_so_does_none() -> None:
    (said,) = failures(run(), [check(1.0), check(1.11)])
    assert said == "GPU 0 at a point: the power readings give 1.11 times the energy that its counter gives"
    assert failures(run(), []) == ["the energy counter could not be compared with the power readings"]


def test_a_comparison_without_a_ratio_fails_it() -> None:
    (said,) = failures(run(), [check(1.0)], ratio=None)
    assert "could not be compared with the session" in said


def test_a_point_that_is_missing_invalid_or_misses_its_objective_fails_it() -> None:
    whole = run()
    first, second, *_ = whole.points
    invalid = first.model_copy(update={"verdict": "invalid", "reasons": ("GPU 0 was lost",)})
    missed = second.model_copy(
        update={"objective": tuple(c.model_copy(update={"met": False}) for c in second.objective)}
    )
    said = failures(whole.model_copy(update={"points": (invalid, missed)}), [check(1.0)])
    assert any("is invalid: GPU 0 was lost" in each for each in said)
    assert any("misses p99" in each for each in said)
    assert any("points were not measured" in each for each in said)


def test_points_without_a_gpu_fail_it() -> None:
    whole = run()
    blind = tuple(p.model_copy(update={"gpu": None}) for p in whole.points)
    said = failures(whole.model_copy(update={"points": blind}), [check(1.0)])
    assert len(said) == len(blind) and all("no figures of a GPU" in each for each in said)


def with_energy(point: PointResult, by_power: float | None) -> PointResult:
    assert point.gpu is not None
    figures = [g.model_copy(update={"energy_j": 100.0, "energy_j_by_power": by_power}) for g in point.gpu]
    return point.model_copy(update={"gpu": tuple(figures)})


def test_energy_is_compared_where_both_are_known() -> None:
    point = run().points[0]
    (found,) = _energy(with_energy(point, 98.0))
    assert (found.energy_j, found.ratio) == (100.0, 0.98)
    assert list(_energy(with_energy(point, None))) == []
    assert isinstance(point.gpu and point.gpu[0], GpuFigures)


def test_the_clients_share_is_of_the_valid_point_with_the_highest_rate() -> None:
    points = run().points
    found = _client(points)
    assert found is not None
    fastest = max(points, key=lambda p: p.throughput_requests_per_s or 0)
    assert found.requests_per_s == fastest.throughput_requests_per_s
    busiest = max(process.cpu_s or 0 for process in fastest.load_processes)
    assert found.cpu_share == busiest / (fastest.duration_s or 1)
    assert _client([p.model_copy(update={"verdict": "invalid"}) for p in points]) is None
