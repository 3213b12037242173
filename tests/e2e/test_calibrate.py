"""`harness calibrate` as a user runs it, only shorter: the real command line with a tiny scale."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.calibration import against, perf_analyzer
from harness.schema.calibration import Calibration
from tests.e2e.conftest import Finished, server_of, wait_for
from tests.e2e.test_command_line import in_process
from tests.interrupts import heed_sigint

TINY = """
import sys
from functools import partial
from harness.calibration import against, coverage, station, truth
from harness.commands import calibrate
calibrate.QUICK = calibrate.Scale(
    truth_s=3, runs=1, run_s=2, rounds=1, round_s=0.4, noisy=1, noisy_s=2
)
station.Validity = partial(station.Validity, foreign_cpu=1, stolen_cpu=1, send_lag_ms=10_000, drift=1000)
against.MOST_STOLEN = 1
calibrate.SEED = 3
truth.ATTEMPTS, truth.AT_ONCE = 1, 8
against.CONCURRENCIES = (1, 8)
from harness.cli import main
main()
"""
"""No limit is left that other work could trip, and no schedule of this seed misses the theory by chance, so
that nothing is measured again."""


def _with(program: str, *lines: str) -> str:
    """The program with these lines before its last two."""
    return program.replace("from harness.cli", "\n".join([*lines, "from harness.cli"]))


TWO_PARTS = _with(TINY, 'calibrate.PARTS = ("truth", "coverage")')
ONE_QUEUE = "truth.QUEUES, coverage.MODELS = truth.QUEUES[1:2], coverage.MODELS[:2]"
TWO_SHORT_PARTS = _with(TWO_PARTS, ONE_QUEUE).replace("truth_s=3", "truth_s=2").replace("run_s=2", "run_s=1")
"""For tests of what goes on around the measurements, not of each queue."""

needs_perf_analyzer = pytest.mark.skipif(
    perf_analyzer.problem() is not None, reason=perf_analyzer.problem() or ""
)


def _told(program: str) -> str:
    """The same, and it tells of the points that it measures at once."""
    tells = """
def told(lanes, measure, stop, in_lanes=truth.in_lanes):
    print("at once", len(lanes), file=sys.stderr, flush=True)
    return in_lanes(lanes, measure, stop)
truth.in_lanes = coverage.in_lanes = told"""
    return _with(program, tells)


def started(folder: Path, *arguments: str, program: str = TINY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, "calibrate", *arguments],
        cwd=folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_sigint,
    )


def calibrate(folder: Path, *arguments: str, program: str = TINY) -> Finished:
    process = started(folder, *arguments, program=program)
    try:
        stdout, stderr = process.communicate(timeout=240)
    finally:
        process.kill()
    return Finished(process.returncode, stdout, stderr)


def judged(done: Finished) -> Calibration:
    """What was found. So short a calibration may well fail by chance; the exit code says whether it did."""
    assert done.stdout, done.stderr
    found = Calibration.model_validate_json(done.stdout)
    assert done.code == (3 if found.failures else 0), done.stderr
    return found


@pytest.mark.triton
def test_truth_and_coverage_are_measured_and_the_page_is_written(tmp_path: Path) -> None:
    done = calibrate(
        tmp_path, "--quick", "--part", "truth", "--part", "coverage", "--json", "--write", "docs/accuracy.md"
    )
    found = judged(done)
    assert found.truth is not None and found.coverage is not None
    assert found.against is None and found.noise is None
    assert len(found.truth) == 8  # four queues, two protocols
    for case in found.truth:
        figures = {figure.name: figure for figure in case.path}
        assert set(figures) == {"p50", "p99", "p999", "throughput"}
        rate = figures["throughput"]
        assert rate.measured == pytest.approx(rate.truth, rel=0.1), case
        # Loose: other tests may have the machine, and its interval is wide then. That it is right is what the
        # full command shows.
        p50 = figures["p50"]
        if p50.measured is not None:
            assert p50.passed or 0.5 < p50.measured / p50.truth < 3, case
        assert 0 < case.wire_s < 0.02
        assert bool(case.theory) == ("stalls" not in case.name)
    assert {(check.protocol, check.figure) for check in found.coverage.checks} == {
        (protocol, figure) for protocol in ("http", "grpc") for figure in ("p50", "p99", "mean", "throughput")
    }
    page = (tmp_path / "docs" / "accuracy.md").read_text()
    assert "## Against truth" in page and "## Coverage of the intervals" in page
    assert "Parts that weren't run: against, noise." in page
    assert "### exponential service, grpc" in page and "A quick run" in page
    for failure in found.failures:
        assert failure in page
    assert [path.name for path in tmp_path.iterdir()] == ["docs"], "nothing else is left where one works"


@pytest.mark.triton
def test_what_a_neighbour_spoils_is_measured_again_and_in_the_end_fails(tmp_path: Path) -> None:
    queues = "truth.QUEUES, coverage.MODELS = truth.QUEUES[1:3], coverage.MODELS[:4]"
    twice = _with(TWO_PARTS, queues, "truth.ATTEMPTS = coverage.MOST_TRIED = 2")
    for once, instead in (
        ("foreign_cpu=1", "foreign_cpu=0.1"),
        ("runs=1", "runs=2"),
        ("truth_s=3", "truth_s=1.5"),
        ("run_s=2", "run_s=1.5"),
    ):
        twice = twice.replace(once, instead)
    process = started(tmp_path, "--quick", "--json", program=_told(twice))
    neighbour = None
    try:
        before = _until(process, "at once")
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        stdout, after = process.communicate(timeout=240)
    finally:
        process.kill()
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()
    done = Finished(process.returncode, stdout, before + after)
    assert done.code == 3, done.stderr
    again = [line for line in done.stderr.splitlines() if "is measured again: " in line]
    assert len(again) == 4 and all("other processes used" in line for line in again), done.stderr
    found = Calibration.model_validate_json(done.stdout)
    assert found.truth is not None and {case.attempts for case in found.truth} == {2}
    assert sum("not measured validly in 2 attempts" in failure for failure in found.failures) == 4
    assert sum("only 0 of 2 runs passed harness's own gates" in failure for failure in found.failures) == 6
    at_once = [int(line.split()[2]) for line in done.stderr.splitlines() if line.startswith("at once ")]
    # Less at once after a refusal: coverage in halves, one over each protocol until it gives up.
    assert at_once == [4, 4, 4, 2, 2]


@pytest.mark.triton
def test_a_point_that_never_began_is_measured_again_and_an_error_of_a_later_part_keeps_it(
    tmp_path: Path,
) -> None:
    first = """
from dataclasses import replace
from harness.calibration.station import Station
from harness.schema.errors import HarnessError
from harness.schema.samples import Window
measure_service, lost = Station.measure_service, set()
def measured(station, service, *, lane, measure, **asked):
    if lane in lost:
        return measure_service(station, service, lane=lane, measure=measure, **asked)
    lost.add(lane)
    short = measure.model_copy(update={"duration_s": 0.5})
    drive = measure_service(station, service, lane=lane, measure=short, **asked)
    invalid = {"verdict": "invalid", "reasons": ("load process 1 was killed",)}
    began_ns = drive.window.start_ns
    return replace(drive, result=drive.result.model_copy(update=invalid), window=Window(began_ns, began_ns))
Station.measure_service = measured
def fails(*_):
    raise HarnessError("Triton is gone: start again")
calibrate._MEASURE["coverage"] = fails"""
    program = _with(TWO_SHORT_PARTS, first, "truth.ATTEMPTS = 2")
    done = calibrate(tmp_path, "--quick", "--json", program=program)
    assert done.code == 3, done.stderr
    assert done.stderr.count("is measured again: load process 1 was killed") == 2
    found = judged(done)
    assert found.truth is not None
    # In so short a run one may well be off the theory by chance, and be measured once more for that.
    assert {case.attempts - bool(case.missed) for case in found.truth} == {2}
    assert all(case.path[0].measured is not None or case.path[0].why for case in found.truth)
    assert found.failures[-1] == (
        "ended by an error (Triton is gone: start again) before it was whole: coverage"
    )


@pytest.mark.triton
@needs_perf_analyzer
def test_the_ratios_to_perf_analyzer_are_printed_as_one_document(tmp_path: Path) -> None:
    done = calibrate(tmp_path, "--quick", "--against", "perf_analyzer", "--json")
    document = json.loads(done.stdout)
    assert set(document) == {"http", "grpc"}
    as_it_must_be = []
    for protocol, of_protocol in document.items():
        assert set(of_protocol) == {"1", "8"}
        for users, ratios in of_protocol.items():
            if ratios["cpu_ratio"] is None:
                assert ratios["why"]
                as_it_must_be.append(False)
                continue
            limit = against.LIMITS[protocol][int(users)]
            as_it_must_be.append(ratios["cpu_ratio"] <= limit and ratios["throughput_ratio"] >= 1)
            for name in ("cpu_ratio", "p50_ratio", "p99_ratio", "throughput_ratio"):
                assert 0.01 < ratios[name] < 100, (name, ratios)
            assert ratios["harness"]["cpu_us_per_request"] > 1
            assert ratios["perf_analyzer"]["cpu_us_per_request"] > 1
    assert done.code == (0 if all(as_it_must_be) else 3), done.stderr


@pytest.mark.triton
@needs_perf_analyzer
def test_a_round_in_which_the_hypervisor_took_too_much_is_no_round(tmp_path: Path) -> None:
    every = "against.QUIET_ATTEMPTS, against.MOST_STOLEN = 2, -1"
    one = 'against.CONCURRENCIES, against.PROTOCOLS = (1,), ("grpc",)'
    program = _with(TINY, every, one).replace("round_s=0.4", "round_s=1.0")  # seen on a busy machine, too
    done = calibrate(tmp_path, "--quick", "--against", "perf_analyzer", "--json", program=program)
    assert done.code == 3, done.stderr
    compared = json.loads(done.stdout)["grpc"]["1"]
    assert compared["cpu_ratio"] is None and compared["rounds"] == 0
    assert "in each of 2 attempts the hypervisor gave more than" in compared["why"]


@pytest.mark.triton
@needs_perf_analyzer
def test_a_point_that_perf_analyzer_gives_up_on_gets_an_answer(tmp_path: Path) -> None:
    """It wants three windows that are alike, and gets two."""
    two = _with(TINY, "from harness.calibration import noise", "noise.TRIALS = 2")
    done = calibrate(tmp_path, "--quick", "--part", "noise", "--json", program=two)
    noise = judged(done).noise
    assert noise is not None and noise.tried == 1
    (point,) = noise.points
    assert "stable" in point.perf_analyzer
    assert not point.lost
    assert point.reasons or (point.throughput_interval_95 and point.p50_interval_95)


@pytest.mark.triton
def test_an_interrupt_ends_it_cleanly_and_leaves_no_server(tmp_path: Path) -> None:
    process = started(tmp_path, "--part", "truth")  # in full, so that it doesn't end by itself
    try:
        server = wait_for(lambda: server_of(process.pid))

        def locusts() -> list[psutil.Process]:
            return [child for child in psutil.Process(process.pid).children(recursive=True) if _sends(child)]

        load = wait_for(locusts)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 4
    assert "interrupted before any part of the calibration was whole" in stderr
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs([server, *load], timeout=10)
    assert not alive


@pytest.mark.triton
def test_what_was_whole_at_an_interrupt_is_kept_and_the_rest_is_a_failure(tmp_path: Path) -> None:
    process = _interrupted_in_coverage(tmp_path, signal.SIGINT, "--write", "page.md")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert "Traceback" not in stderr
    found = Calibration.model_validate_json(stdout)
    assert found.truth is not None and found.coverage is None
    assert found.failures[-1] == "interrupted before it was whole: coverage"
    page = (tmp_path / "page.md").read_text()
    assert "## Against truth" in page and "interrupted before it was whole: coverage" in page
    assert "Every check passed" not in page


def _until(process: subprocess.Popen[str], begin: str) -> str:
    """What it says up to the first line that begins so."""
    assert process.stderr is not None
    said = [process.stderr.readline()]
    while not said[-1].startswith(begin):
        assert said[-1], f"it ended by itself: {said}"
        said.append(process.stderr.readline())
    return "".join(said)


def _interrupted_in_coverage(folder: Path, number: int, *arguments: str) -> subprocess.Popen[str]:
    """A calibration that gets this signal when its truth is whole."""
    endless = TWO_SHORT_PARTS.replace("run_s=1", "run_s=600")
    process = started(folder, "--quick", "--json", *arguments, program=endless)
    try:
        _until(process, "truth: 1 queues")
        wait_for(lambda: any(map(_sends, psutil.Process(process.pid).children(recursive=True))))
        process.send_signal(number)
    except BaseException:
        process.kill()
        raise
    return process


@pytest.mark.triton
def test_a_record_outlives_a_kill_and_goes_on_with_what_it_lacks(tmp_path: Path) -> None:
    record = ("--quick", "--json", "--record", "kept/record.json")
    _interrupted_in_coverage(tmp_path, signal.SIGKILL, *record[2:]).communicate(timeout=60)
    killed = Calibration.model_validate_json((tmp_path / "kept" / "record.json").read_text())
    assert list(killed.measured) == ["truth"]
    assert [run.command for run in killed.measured["truth"]] == [
        "harness calibrate --record record.json --quick"  # and not the folder, which is this machine's
    ]

    done = calibrate(tmp_path, *record, program=TWO_SHORT_PARTS)
    found = judged(done)
    assert "truth: 1 queues" not in done.stderr and "coverage: 1 runs" in done.stderr
    assert found.truth == killed.truth and found.measured["truth"] == killed.measured["truth"]
    assert found.coverage is not None and set(found.measured) == {"truth", "coverage"}
    assert found == Calibration.model_validate_json((tmp_path / "kept" / "record.json").read_text())

    done = calibrate(tmp_path, *record, program=TWO_SHORT_PARTS)
    assert "every part is in kept/record.json already" in done.stderr and "Triton" not in done.stderr
    assert Calibration.model_validate_json(done.stdout) == found

    done = calibrate(tmp_path, *record, "--part", "coverage", program=TWO_SHORT_PARTS)
    again = Calibration.model_validate_json(done.stdout)
    assert again.measured["coverage"][:-1] == found.measured["coverage"]
    assert len(again.measured["coverage"]) == 2 and again.truth == found.truth


def _sends(process: psutil.Process) -> bool:
    try:
        return "locust" in process.cmdline()
    except psutil.Error:  # it has ended in between
        return False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--part", "everything"), "--part takes truth, coverage, against, noise, not 'everything'"),
        (("--against", "wrk"), "--against takes perf_analyzer, not 'wrk'"),
    ],
)
def test_a_wrong_word_is_bad_input_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = in_process(monkeypatch, "calibrate", *arguments)
    assert (code, out) == (2, "")
    assert said in err
