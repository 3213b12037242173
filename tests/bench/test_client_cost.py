"""Client CPU per request and throughput: harness's Locust user beside perf_analyzer, on the same server.

Run with `pytest -o addopts= --benchmark-only tests/bench/test_client_cost.py`. The two take turns, so that
a busy machine is busy for both. The server is Triton with its response cache: it does as little as it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.calibration.against import LIMITS
from harness.load.perf_analyzer import problem
from harness.schema.scenario import Protocol
from harness.triton.embedded import EmbeddedServer
from tests.bench.side_by_side import Question, Rounds, ours, theirs
from tests.load.triton_models import tiny_triton

SECONDS = 3.0
ROUNDS = 5
REQUESTS = {1: 12_000, 8: 30_000, 32: 30_000}
"""Of perf_analyzer, by concurrency: some `SECONDS` of them here."""
WIDTH = 64
"""FP32 values in a request: 256 bytes."""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with tiny_triton(tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.mark.triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize("concurrency", sorted(REQUESTS))
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_client_cpu_per_request(
    benchmark: BenchmarkFixture,
    triton: EmbeddedServer,
    tmp_path: Path,
    protocol: Protocol,
    concurrency: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = Question("cached", np.zeros(WIDTH, np.float32), protocol, concurrency)
    found = Rounds([], [])
    missing = problem()

    def one_round() -> None:
        number = len(found.ours)
        found.ours.append(ours(triton, question, tmp_path / f"ours-{number}", SECONDS))
        if missing is None:
            their = theirs(triton, question, tmp_path / f"theirs-{number}", REQUESTS[concurrency])
            found.theirs.extend([] if their is None else [their])

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    limit = LIMITS[protocol][concurrency]
    with capsys.disabled():
        print(f"\nclient CPU per request, {protocol}, concurrency {concurrency}, median of {ROUNDS} rounds:")
        print(found.said())
        print(f"  asked for      CPU {limit} at most, throughput 1 at least")
        if missing is not None:
            print(f"  {missing}")
    if found.theirs:
        benchmark.extra_info.update(cpu_ratio=found.cpu_ratio, throughput_ratio=found.throughput_ratio)
        assert found.cpu_ratio <= limit and found.throughput_ratio >= 1
