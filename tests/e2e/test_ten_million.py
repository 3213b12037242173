"""Ten million requests in one run: memory under a gigabyte, the right figures, and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness.schema.result import PointResult, RunResult
from harness.schema.samples import REQUEST, Phase, Requests, Status
from tests.e2e.ten_million import apart, make


def recorded(spools: Path) -> Requests:
    """The measured requests of all load processes, in the order they were due."""
    every = np.concatenate([np.fromfile(spool, REQUEST) for spool in sorted(spools.glob("*.spool"))])
    measured = every[every["phase"] == Phase.MEASURE]
    return measured[np.argsort(measured["intended_ns"], kind="stable")]


def check(point: PointResult, requests: Requests) -> None:
    """Every figure is the one that numpy gives for the same records."""
    ok = requests["status"] == Status.OK
    assert point.requests == requests.size
    assert point.errors == np.count_nonzero(~ok) > 0
    assert point.error_reasons == {
        f"refused by {worker}": np.count_nonzero(~ok & (requests["worker"] == worker)) for worker in (0, 1)
    }
    assert point.steady_state is not None
    skipped = point.steady_state.skipped_requests
    assert skipped > 0
    for figures, since in ((point.latency_s, "intended_ns"), (point.service_s, "sent_ns")):
        check_latency(figures.model_dump(), (requests["completed_ns"] - requests[since])[ok][skipped:])
    first = np.flatnonzero(ok)[skipped]
    for index, figures in enumerate(point.classes):
        mine = requests["request_class"] == index
        assert figures.requests == np.count_nonzero(mine)
        assert figures.errors == np.count_nonzero(mine & ~ok)
        steady = requests[first:][(mine & ok)[first:]]
        check_latency(figures.latency_s.model_dump(), steady["completed_ns"] - steady["intended_ns"])
    start, last = requests["intended_ns"][0], requests["sent_ns"].max()
    answered = np.count_nonzero(requests["completed_ns"][ok] < last)
    assert point.throughput_requests_per_s == pytest.approx(answered / ((last - start) / 1e9))
    in_flight = np.sum(np.minimum(requests["completed_ns"], last) - requests["sent_ns"], dtype=float)
    assert point.in_flight_mean == pytest.approx(in_flight / (last - requests["sent_ns"].min()))
    lag_s = np.quantile(requests["sent_ns"] - requests["intended_ns"], 0.99) / 1e9
    assert point.send_lag_p99_s == pytest.approx(lag_s)


def check_latency(figures: dict[str, float], took_ns: npt.NDArray[np.int64]) -> None:
    shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
    expected = np.quantile(took_ns, list(shares.values()), method="inverted_cdf") / 1e9
    for name, value in zip(shares, expected, strict=True):
        assert figures[name] == pytest.approx(value, rel=1e-9), name
        low, high = figures["interval_95"][name]  # type: ignore[index]
        assert low <= figures[name] <= high
    assert figures["mean"] == pytest.approx(took_ns.mean() / 1e9)
    assert (figures["min"], figures["max"]) == (took_ns.min() / 1e9, took_ns.max() / 1e9)


@pytest.mark.parametrize(("points", "requests"), [(1, 10_000_000), (5, 2_000_000)])
def test_ten_million_requests_take_under_a_gigabyte_and_give_numpys_figures(
    tmp_path: Path, points: int, requests: int
) -> None:
    make(tmp_path, points, requests)
    expected = recorded(tmp_path / f"spools-{points}")
    took = apart("run", tmp_path)
    print(f"{points} x {requests:,}: {took}")
    run = Path(took["run"])
    assert took["peak_bytes"] < 1e9, "looks at what was recorded, Parquet, figures and page"
    assert took["enough"] or points > 1
    result = RunResult.model_validate_json((run / "result.json").read_text())
    assert [p.requests for p in result.points] == [requests] * points
    check(result.points[-1], expected)
    assert 4e6 < (run / "report.html").stat().st_size < 8e6
    assert list(run.glob("points/*/load/*")) == []
    if points == 1:
        before = (run / "report.html").read_bytes()
        took = apart("report", run)
        print(f"harness report: {took}")
        assert took["peak_bytes"] < 1e9
        assert RunResult.model_validate_json((run / "result.json").read_text()) == result
        assert (run / "report.html").read_bytes() == before
