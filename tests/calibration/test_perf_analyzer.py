"""perf_analyzer's process and its report. The outputs are those of version 2.48, as recorded here."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from harness.calibration import perf_analyzer
from harness.calibration.perf_analyzer import PerfAnalyzer, figures
from harness.schema.errors import HarnessError

REPORT = """\
Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
2,99.9788,94,17626,105,22,250,1,0,29169,32231,32283,32526
"""

UNSTABLE = """\
 Successfully read data for 1 stream/streams with 4 step/steps.
*** Measurement Settings ***
  Batch size: 1
  Measurement window: 600 msec
Request concurrency: 1
Failed to obtain stable measurement within 5 measurement windows for concurrency 1. Please try to increase \
the --measurement-interval.
Failed to obtain stable measurement.
"""


def test_the_figures_are_those_of_the_report() -> None:
    found = figures(REPORT)
    assert found is not None
    assert found.throughput_per_s == 99.9788
    assert found.p50_s == pytest.approx(0.029169)
    assert found.p90_s == pytest.approx(0.032231)
    assert found.p95_s == pytest.approx(0.032283)
    assert found.p99_s == pytest.approx(0.032526)


def test_a_report_without_a_row_has_no_figures() -> None:
    assert figures(REPORT.splitlines()[0]) is None
    assert figures("") is None


def test_a_report_of_another_version_is_refused_with_the_remedy() -> None:
    with pytest.raises(HarnessError, match="p99 latency"):
        figures(REPORT.replace("p99 latency", "p98 latency"))


def test_a_missing_library_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with pytest.raises(HarnessError, match="apt-get install libb64-0d"):
        PerfAnalyzer(tmp_path / "libcudart.so.12", tmp_path)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """PerfAnalyzer with a shell script for its binary: what it says and does is given."""

    def made(script: str) -> PerfAnalyzer:
        binary = tmp_path / "wheel" / "tritonclient-2.48.0.data" / "data" / "bin" / "perf_analyzer"
        binary.parent.mkdir(parents=True)
        binary.write_text(f"#!/bin/bash\n{script}\n")
        binary.chmod(0o644)
        monkeypatch.setattr(perf_analyzer, "unpacked", lambda _: tmp_path / "wheel")
        monkeypatch.setattr(perf_analyzer, "problem", lambda: None)
        return PerfAnalyzer(tmp_path / "libcudart-1234.so.12", tmp_path / "work")

    return made


def run(analyzer: PerfAnalyzer, limit_s: float = 20.0) -> perf_analyzer.Finished:
    data = [{"X": [0.0, 1.0]}, {"X": [2.0, 3.0]}]
    return analyzer.run("model", "http", "127.0.0.1:1", concurrency=2, data=data, limit_s=limit_s)


def test_it_is_told_what_to_send_and_its_cpu_is_its_own(stand_in: Any, tmp_path: Path) -> None:
    analyzer = stand_in(
        f'printf "%s\\n" "$@"; cat values.json; printf "{REPORT}" > "$8"; i=0; '
        "while ((i < 100000)); do ((i += 1)); done"
    )
    finished = run(analyzer)
    said = finished.output.splitlines()
    assert said[:6] == ["-m", "model", "-i", "http", "-u", "127.0.0.1:1"]
    assert "--concurrency-range" in said and "X:2" in said
    assert '{"X": {"content": [2.0, 3.0], "shape": [2]}}' in finished.output
    assert finished.figures is not None and finished.figures.throughput_per_s == 99.9788
    assert finished.unstable is None and not finished.timed_out
    assert 0 < finished.cpu_s <= finished.wall_s * 1.5
    assert (tmp_path / "work" / "lib" / "libcudart.so.12").is_symlink()


def test_its_giving_up_is_told_in_its_own_words(stand_in: Any) -> None:
    finished = run(stand_in(f"cat <<'END'\n{UNSTABLE}END\nexit 2"))
    assert finished.figures is None
    assert finished.unstable is not None and finished.unstable.startswith("Failed to obtain stable")
    assert "5 measurement windows" in finished.unstable
    assert finished.why == finished.unstable


def test_one_that_never_returns_is_killed_with_its_children(stand_in: Any, tmp_path: Path) -> None:
    analyzer = stand_in(f"sleep 300 & echo $! > {tmp_path}/child; trap '' TERM; wait")
    began = time.monotonic()
    finished = run(analyzer, limit_s=0.7)
    assert finished.timed_out and finished.figures is None
    assert "did not return" in finished.why
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or _is_zombie(child):
            return
        time.sleep(0.05)
    pytest.fail("its child lives")


def test_a_crash_is_told_by_its_last_words(stand_in: Any) -> None:
    assert (
        run(stand_in("echo thread: out of range >&2; exit 9")).why
        == "perf_analyzer said: thread: out of range"
    )
    assert os.getpid()  # and we are still here


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
