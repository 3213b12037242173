"""docs/accuracy.md from a record: every table, what failed, and nothing that a table could break on."""

from __future__ import annotations

import itertools

from harness.report.accuracy import accuracy_page
from harness.schema.calibration import (
    Calibration,
    Client,
    Comparison,
    Coverage,
    CoverageCheck,
    FigureCheck,
    Noise,
    NoisyPoint,
    PartRun,
    TruthCase,
)
from tests.report.factory import environment

CLIENT = Client(cpu_us_per_request=21.4, throughput_per_s=18690.2, p50_us=36.1, p99_us=108.9)

WHOLE = "harness calibrate --record kept.json"
AGAIN = "harness calibrate --part truth --record kept.json"

FOUND = Calibration(
    environment=environment(gpu=False),
    quick=False,
    measured={
        "truth": (
            PartRun(command=WHOLE, started_at="14:00", finished_at="14:30", failures=("no p50", "no p99")),
            PartRun(command=AGAIN, started_at="14:50", finished_at="15:20", failures=("p50 is off",)),
        ),
        "coverage": (PartRun(command=WHOLE, started_at="14:30", finished_at="14:40"),),
        "against": (PartRun(command=WHOLE, started_at="14:40", finished_at="14:45"),),
        "noise": (PartRun(command=WHOLE, started_at="14:45", finished_at="14:50"),),
    },
    truth=(
        TruthCase(
            name="constant service",
            protocol="http",
            description="service constant 10 ms; arrivals 60/s poisson",
            requests=21600,
            duration_s=360.2,
            wire_s=0.0005,
            attempts=2,
            verdict="valid",
            reasons=(),
            theory=(
                FigureCheck(
                    name="p50",
                    measured=0.0148,
                    interval_95=(0.0144, 0.0152),
                    truth=0.0142,
                    truth_without_wire=0.0137,
                    error=0.042,
                    passed=False,
                ),
            ),
            path=(
                FigureCheck(
                    name="p999",
                    measured=None,
                    interval_95=None,
                    truth=0.08,
                    truth_without_wire=0.079,
                    error=None,
                    passed=None,
                    why="too | few",
                ),
                FigureCheck(
                    name="throughput",
                    measured=60.1,
                    interval_95=(59.0, 61.0),
                    truth=60.0,
                    truth_without_wire=60.0,
                    error=0.0017,
                    passed=True,
                ),
            ),
        ),
    ),
    coverage=Coverage(
        description="service exponential, mean 10 ms; arrivals 40/s poisson; 15 s each",
        refused={"http": 2, "grpc": 0},
        refusals=("the client couldn't keep up",),
        checks=(
            CoverageCheck(
                protocol="http",
                figure="mean",
                truth=0.017,
                runs=100,
                supported=100,
                covered=94,
                needed=93,
                passed=True,
            ),
        ),
    ),
    against=(
        Comparison(
            protocol="grpc",
            concurrency=32,
            rounds=5,
            cpu_ratio=0.71,
            throughput_ratio=1.31,
            p50_ratio=0.9,
            p99_ratio=0.8,
            harness=CLIENT,
            perf_analyzer=CLIENT,
        ),
        Comparison(
            protocol="http",
            concurrency=32,
            rounds=0,
            cpu_ratio=None,
            throughput_ratio=None,
            p50_ratio=None,
            p99_ratio=None,
            harness=None,
            perf_analyzer=None,
            why="perf_analyzer did not return within 22 s and was killed",
        ),
    ),
    noise=Noise(
        wanted=1,
        tried=2,
        points=(
            NoisyPoint(
                protocol="http",
                model="http, concurrency 1, stalls",
                concurrency=1,
                perf_analyzer="Failed to obtain stable measurement",
                verdict="valid",
                throughput_per_s=105.7,
                throughput_interval_95=(83.6, 127.8),
                p50_s=0.0025,
                p50_interval_95=(0.0024, 0.0026),
                p99_s=None,
                p99_interval_95=None,
                reasons=("no p99: clusters",),
                lost=False,
            ),
        ),
    ),
    failures=("constant service over http: p50 is +4.2% off the theory's",),
)


def test_every_table_says_what_passed_and_what_did_not() -> None:
    page = accuracy_page(FOUND)
    assert "**1 check failed. 1 figure has no answer.**" in page and f"- {FOUND.failures[0]}" in page
    assert "| theory | p50 | 14.80 ms | 14.40 ms to 15.20 ms | 14.20 ms | +4.2% | **fail** | +8.0% |" in page
    assert "| path | p99.9 | null: too \\| few |  | 80.00 ms |  | no answer |  |" in page
    assert "| path | throughput | 60.10/s | 59.00/s to 61.00/s | 60.00/s | +0.2% | pass |  |" in page
    assert "wire 0.50 ms; harness says valid at attempt 2." in page
    assert "missed the theory" not in page and "theory, before" not in page
    assert "| http | mean | 17.00 ms | 100 | 100 | 94 | 93 | pass |" in page
    assert "2 over http, 0 over grpc." in page and "- the client couldn't keep up" in page
    assert "| grpc | 32 | 5 | 0.71 | 1.31 | 0.90 | 0.80 | 21 µs CPU, 18690/s, p50 36, p99 109 µs |" in page
    assert "- http, concurrency 32: perf_analyzer did not return within 22 s and was killed" in page
    assert "2.50 ms (2.40 ms to 2.60 ms) | null | no p99: clusters |" in page
    assert "There was no GPU" in page and "Parts that weren't run" not in page


def test_every_table_has_as_many_cells_in_each_row() -> None:
    lines = accuracy_page(FOUND).splitlines()
    tables = 0
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.replace("\\|", "").count("|") == line.replace("\\|", "").count("|"), line
        tables += line.startswith("|---")
    assert tables == 5
    assert "\n\n\n" not in "\n".join(lines)


def test_a_miss_that_was_measured_once_more_is_on_the_page() -> None:
    (case,) = FOUND.truth or ()
    right = case.theory[0].model_copy(update={"measured": 0.0143, "passed": True})
    again = case.model_copy(update={"theory": (right,), "missed": case.theory})
    page = accuracy_page(FOUND.model_copy(update={"truth": (again,), "failures": ()}))
    assert (
        "**Every check passed. 1 figure missed the theory at first: measured once more. 1 figure has" in page
    )
    before = (
        "| theory, before | p50 | 14.80 ms | 14.40 ms to 15.20 ms | 14.20 ms | +4.2% | **fail** | +8.0% |"
    )
    assert f"{before}\n| theory | p50 | 14.30 ms" in page


def test_the_same_record_makes_the_same_page_and_absent_parts_are_named() -> None:
    assert accuracy_page(FOUND) == accuracy_page(Calibration.model_validate_json(FOUND.model_dump_json()))
    measured = {part: FOUND.measured[part] for part in ("truth", "coverage")}
    less = FOUND.model_copy(update={"measured": measured, "failures": (), "quick": True})
    less = less.model_copy(update={"noise": None, "against": None})
    page = accuracy_page(less)
    assert "**Every check passed. 1 figure has no answer.** A quick run" in page
    assert "Parts that weren't run: against, noise." in page
    assert "## On noise" not in page


def test_each_part_says_when_it_was_measured_and_what_the_times_before_gave() -> None:
    page = accuracy_page(FOUND)
    assert "| measured | 14:30 to 15:20 |" in page
    assert f"| command | `{AGAIN}`, `{WHOLE}` |" in page
    again = "Measured 14:50 to 15:20. Measured before, 14:00 to 14:30: no p50; no p99."
    assert f"## Against truth\n\n{again}\n\n" in page
    for heading, when in (
        ("Coverage of the intervals", "14:30 to 14:40"),
        ("Against perf_analyzer", "14:40 to 14:45"),
        ("On noise", "14:45 to 14:50"),
    ):
        assert f"## {heading}\n\nMeasured {when}.\n\n" in page
