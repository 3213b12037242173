"""Client CPU per request and throughput: harness's Locust user beside perf_analyzer, on the same server.

Run with `pytest -o addopts= --benchmark-only tests/bench/test_client_cost.py`; it is what `harness calibrate
--against perf_analyzer` measures. The two take turns, so that a busy machine is busy for both. The server is
Triton with its response cache: it does as little as it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.calibration.against import CONCURRENCIES, LIMITS, compared, failures
from harness.calibration.perf_analyzer import PerfAnalyzer, problem
from harness.calibration.station import Station, station
from harness.schema.scenario import Protocol
from harness.triton.install import provision

SECONDS = 3.0
ROUNDS = 5


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("station")
    with station(folder / "work") as found:
        yield found


@pytest.mark.triton
@pytest.mark.skipif(problem() is not None, reason=problem() or "")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("concurrency", CONCURRENCIES)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_client_cpu_per_request(
    benchmark: BenchmarkFixture,
    at: Station,
    tmp_path: Path,
    protocol: Protocol,
    concurrency: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (cudart,) = provision().libs.glob("libcudart-*.so.12*")
    analyzer = PerfAnalyzer(cudart, tmp_path)
    found = benchmark.pedantic(
        lambda: compared(
            at, analyzer, protocol, concurrency, rounds=ROUNDS, seconds=SECONDS, progress=lambda _: None
        )
    )
    with capsys.disabled():
        print(f"\n{protocol}, concurrency {concurrency}, medians of {found.rounds} rounds:")
        for name, client in (("harness", found.harness), ("perf_analyzer", found.perf_analyzer)):
            if client is not None:
                print(
                    f"  {name:14} {client.cpu_us_per_request:9.1f} us of client CPU a request, "
                    f"{client.throughput_per_s:8.0f} requests/s"
                )
        print(f"  ratio          CPU {found.cpu_ratio:.2f}, throughput {found.throughput_ratio:.2f}")
        print(f"  asked for      CPU {LIMITS[protocol][concurrency]} at most, throughput 1 at least")
    benchmark.extra_info.update(cpu_ratio=found.cpu_ratio, throughput_ratio=found.throughput_ratio)
    assert list(failures([found])) == []
