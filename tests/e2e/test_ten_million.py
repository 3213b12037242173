"""Millions of requests in one run: so little memory for each that ten million take under a gigabyte, the
right figures, and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from harness.schema.result import PointResult, RunResult
from harness.schema.samples import REQUEST, Phase, Status
from tests.e2e.ten_million import AT_ONCE, apart, make

FEW_BYTES, BYTES_EACH = 0.11e9, 76
"""Memory whatever the number of requests, and for each. What the allocators of a user's process keep comes on
top, and `make bench` sees that ten million take under a gigabyte with it."""

Columns = dict[str, npt.NDArray[np.int64]]


def recorded(spools: Path) -> Columns:
    """The measured requests of all load processes, in the order they were due."""
    every = [np.fromfile(spool, REQUEST) for spool in sorted(spools.glob("*.spool"))]
    measured = [records[records["phase"] == Phase.MEASURE] for records in every]
    names = ("intended_ns", "sent_ns", "completed_ns", "status", "worker", "request_class")
    # Column by column: whole records of a random order are fetched at several times the cost.
    columns = {name: np.concatenate([records[name] for records in measured]) for name in names}
    order = np.argsort(columns["intended_ns"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def check(point: PointResult, requests: Columns) -> None:
    """Every figure is the one that numpy gives for the same records."""
    ok = requests["status"] == Status.OK
    assert point.requests == ok.size
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
        steady = (mine & ok)[first:]
        took_ns = (requests["completed_ns"] - requests["intended_ns"])[first:][steady]
        check_latency(figures.latency_s.model_dump(), took_ns)
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


@pytest.mark.parametrize(
    ("points", "requests", "at_most"),
    [(1, 3_000_000, FEW_BYTES + 3_000_000 * BYTES_EACH), (5, 600_000, 0.27e9)],
    ids=["in one point", "in five points, of which none is kept"],
)
def test_three_million_requests_take_little_memory_each_and_give_numpys_figures(
    tmp_path: Path, points: int, requests: int, at_most: float
) -> None:
    make(tmp_path, points, requests)
    expected = recorded(tmp_path / f"spools-{points}")
    took = apart("run", tmp_path, allocators=AT_ONCE)
    print(f"{points} x {requests:,}: {took}")
    run = Path(took["run"])
    assert took["peak_bytes"] < at_most, "looks at what was recorded, Parquet, figures and page"
    assert took["enough"] or points > 1
    result = RunResult.model_validate_json((run / "result.json").read_text())
    assert [p.requests for p in result.points] == [requests] * points
    check(result.points[-1], expected)
    assert 4e6 < (run / "report.html").stat().st_size < 8e6
    assert list(run.glob("points/*/load/*")) == []
    if points == 1:
        before = (run / "report.html").read_bytes()
        took = apart("report", run, allocators=AT_ONCE)
        print(f"harness report: {took}")
        assert took["peak_bytes"] < at_most
        assert RunResult.model_validate_json((run / "result.json").read_text()) == result
        assert (run / "report.html").read_bytes() == before
