"""`harness.samples` on runs that were measured: tests/data/runs_of_0_1."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.schema.result import Latency, RunResult
from harness.store import samples_file
from harness.store.run_folder import open_run

RUNS = Path(__file__).parents[1] / "data" / "runs_of_0_1"
WIRES, DIED = RUNS / "wires", RUNS / "server-died"

COLUMNS = [
    *("request", "status", "reason", "scheduled_s", "sent_s", "first_byte_s", "completed_s", "latency_s"),
    *("request_bytes", "response_bytes", "load_process"),
]


def made(run: Path) -> RunResult:
    result = RunResult.model_validate_json((run / "result.json").read_text())
    return result.model_copy(update={"path": str(run)})


def agrees(latency_s: pd.Series[float], figures: Latency) -> None:
    in_order = sorted(latency_s)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        figure = getattr(figures, name)
        assert figure is None or figure == pytest.approx(in_order[math.ceil(share * len(in_order)) - 1])
    assert figures.p50 == pytest.approx(latency_s.quantile(0.5), rel=0.02)
    assert latency_s.mean() == pytest.approx(figures.mean) and latency_s.max() == pytest.approx(figures.max)


@pytest.mark.parametrize("run", [WIRES, DIED])
def test_its_quantiles_are_those_of_the_result(run: Path) -> None:
    result = made(run)
    assert len(result.points) == 2
    for point in result.points:
        requests = harness.samples(result, point)
        assert list(requests.columns) == COLUMNS
        assert len(requests) == point.requests and requests.latency_s.count() == point.requests - point.errors
        assert point.steady_state is not None
        steady = requests[requests.status == "ok"].iloc[point.steady_state.skipped_requests :]
        agrees(steady.latency_s, point.latency_s)
        for kind in point.classes:
            agrees(steady.latency_s[steady.request == kind.name], kind.latency_s)


def test_times_are_seconds_from_the_start_of_the_measured_window() -> None:
    (point, _) = made(WIRES).points
    requests = harness.samples(WIRES, "protocol http")
    assert requests.scheduled_s.iloc[0] == 0 and requests.scheduled_s.is_monotonic_increasing
    assert point.duration_s == pytest.approx(requests.completed_s.max())
    assert (requests.scheduled_s <= requests.sent_s).all() and (requests.sent_s < requests.first_byte_s).all()
    assert (requests.first_byte_s <= requests.completed_s).all()
    assert (requests.completed_s - requests.scheduled_s - requests.latency_s).abs().max() < 1e-12
    warmup = harness.samples(WIRES, "protocol http", phase="warmup")
    assert len(warmup) > 30 and warmup.scheduled_s.max() < 0
    assert requests.request_bytes.gt(100).all() and set(requests.load_process) == {0}


def test_what_was_not_observed_is_missing() -> None:
    requests = harness.samples(DIED, "rate-per-s-100")
    failed = requests[requests.status != "ok"]
    assert set(failed.status) == {"connection"} and "connection refused" in set(failed.reason)
    assert failed.latency_s.isna().all() and failed.first_byte_s.isna().all()
    assert failed[["scheduled_s", "sent_s", "completed_s"]].notna().all().all()
    good = requests[requests.status == "ok"]
    assert good.reason.isna().all() and good[["first_byte_s", "latency_s"]].notna().all().all()


def test_a_point_without_a_window_begins_with_its_first_measured_request(tmp_path: Path) -> None:
    run = Path(shutil.copytree(DIED, tmp_path / "run"))
    (file,) = run.glob("points/rate-per-s-100*/observed.json")
    window = '"window_ns": [\n  1211936153852,\n  1213576484383\n ]'
    assert window in file.read_text()
    file.write_text(file.read_text().replace(window, '"window_ns": null'))
    for phase in ("measure", "warmup"):
        with_it = harness.samples(DIED, "rate-per-s-100", phase=phase)
        pd.testing.assert_frame_equal(harness.samples(run, "rate-per-s-100", phase=phase), with_it)


def test_a_wish_that_cannot_be_met_is_one_sentence(tmp_path: Path) -> None:
    run = Path(shutil.copytree(DIED, tmp_path / "run"))
    ids = r"rate-per-s-50\.0-37c31f9d, rate-per-s-100\.0-f8983b7b"
    for point, sentence in {
        "rate": rf"has several points 'rate': give one of these ids: {ids}$",
        "": rf"has no point '': give one of these ids: {ids}$",
        "../points": rf"has no point '\.\./points': give one of these ids: {ids}$",
    }.items():
        with pytest.raises(harness.HarnessError, match=sentence):
            harness.samples(run, point)
    with pytest.raises(harness.HarnessError, match="no phase 'cooldown': give one of warmup, measure"):
        harness.samples(run, "rate-per-s-50", phase="cooldown")  # type: ignore[arg-type]
    with pytest.raises(harness.HarnessError, match="is no folder"):
        harness.samples(tmp_path / "nowhere", "rate-per-s-50")
    (file,) = run.glob("points/rate-per-s-50*/observed.json")
    file.unlink()
    with pytest.raises(harness.HarnessError, match=r"isn't finished: `harness run .* --resume` goes on"):
        harness.samples(str(run), "rate-per-s-50")


def test_names_that_a_received_file_has_twice_and_times_that_cannot_be(tmp_path: Path) -> None:
    run = Path(shutil.copytree(DIED, tmp_path / "run"))
    file = open_run(run).point("rate-per-s-100.0-f8983b7b") / "requests.parquet"
    stored = samples_file.read_requests(file)
    twice = [*stored.reasons, *stored.reasons]
    samples_file.write_requests(file, [stored.requests], stored.classes, twice, None)
    pd.testing.assert_frame_equal(
        harness.samples(run, "rate-per-s-100"), harness.samples(DIED, "rate-per-s-100")
    )
    stored.requests["completed_ns"][3] = 2**62
    samples_file.write_requests(file, [stored.requests], stored.classes, stored.reasons, None)
    with pytest.raises(harness.HarnessError, match=r"requests\.parquet is damaged"):
        harness.samples(run, "rate-per-s-100")


def test_pandas_is_imported_when_samples_are_asked_for_and_not_before() -> None:
    script = (
        "import sys, harness; assert 'pandas' not in sys.modules; "
        f"harness.samples({str(WIRES)!r}, 'protocol grpc'); assert 'pandas' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
