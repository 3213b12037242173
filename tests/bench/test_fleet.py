"""A minute of 100,000 requests/s over 1,000 replicas, behind each balancer: seconds, and memory.

Run with `pytest -o addopts= --benchmark-only -s tests/bench/test_fleet.py`. Each is in its own process and
must take under 60 s and 2 GB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.schema.plan_section import Balancer

LIMIT_S, LIMIT_BYTES = 60.0, 2e9

PROGRAM = """
import json, resource, sys, time
import numpy as np
from harness.simulation.batcher import Batcher, Station
from harness.simulation.fleet import serve
began = time.perf_counter()
random = np.random.default_rng(1)
due = np.cumsum(random.exponential(1e-5, 6_000_000))
noise = np.exp(0.1 * random.standard_normal(1 << 16)).tolist()
at = 0
def service(kind, inferences):
    global at
    at = (at + 1) & 0xFFFF
    return (0.005 + 0.0005 * inferences) * noise[at]
stations = [Station(Batcher(max_batch=8), service) for _ in range(1000)]
latency = serve(due, stations, sys.argv[1]) - due
found = {
    "p50_ms": float(np.quantile(latency, 0.5)) * 1e3,
    "p99_ms": float(np.quantile(latency, 0.99)) * 1e3,
    "seconds": time.perf_counter() - began,
    "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
print(json.dumps(found))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("balancer", get_args(Balancer))
def test_a_minute_of_a_thousand_replicas(
    benchmark: BenchmarkFixture, balancer: Balancer, capsys: pytest.CaptureFixture[str]
) -> None:
    def simulate() -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, balancer], check=True, capture_output=True, text=True
        )
        return dict(json.loads(done.stdout))

    found = benchmark.pedantic(simulate, rounds=1)
    benchmark.extra_info.update(found)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{balancer}: {found['seconds']:.0f} s, {found['bytes'] / 1e9:.2f} GB; "
            f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms\n"
        )
    assert found["seconds"] < LIMIT_S and found["bytes"] < LIMIT_BYTES
