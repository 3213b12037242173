"""Client CPU per request at concurrency 8: harness's Locust user beside perf_analyzer, on the same server.

Run with `pytest -o addopts= --benchmark-only tests/bench/test_client_cost.py`. The two take turns, so that
a busy machine is busy for both. The server is Triton with its response cache: it does as little as it can.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import resource
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.cache import Wheel, unpacked
from harness.load.driver import drive
from harness.load.recorder import read_spool
from harness.schema.point import Point, PointClass, PointLoad, ServerSettings
from harness.schema.samples import Phase, Status
from harness.schema.scenario import Measure, Objective, Protocol
from harness.triton.embedded import EmbeddedServer
from harness.triton.install import provision
from tests.load.triton_models import tiny_triton

PERF_ANALYZER = Wheel(
    "tritonclient",
    "2.48.0",
    sha256="7074885798e8a711fedaf94d6dd77f310973fe2ebf29fb2837db350a43e2d6a5",
    megabytes=14,
)
CONCURRENCY = 8
SECONDS = 3
ROUNDS = 5
REQUESTS = 30_000
"""Of perf_analyzer: some `SECONDS` of them here."""
WIDTH = 64
"""FP32 values in a request: 256 bytes."""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with tiny_triton(tmp_path_factory.mktemp("triton")) as server:
        yield server


def ours(triton: EmbeddedServer, protocol: Protocol, folder: Path) -> float:
    """CPU seconds per request of one drive's measured phase: Locust, its event and the record included."""
    request_class = PointClass(
        name="null", weight=1.0, batch=1, axes={}, payload=None, folder=None, low=None, high=None
    )
    point = Point(
        id="null",
        params={},
        model="cached",
        protocol=protocol,
        server=ServerSettings(
            max_batch=64, queue_delay_us=0, instances=1, threads=1, kind="cpu", response_cache=True
        ),
        requests=(request_class,),
        load=PointLoad(concurrency=CONCURRENCY),
        measure=Measure(warmup_s=0.5, duration_s=float(SECONDS)),
        objective=Objective(),
        seed=1,
    )
    port = triton.http_port if protocol == "http" else triton.grpc_port
    payloads = {"null": [{"X": np.zeros((1, WIDTH), np.float32)}]}
    outcome = drive(point, "cached", payloads, ["Y"], "127.0.0.1", port, folder, folder)
    requests, _ = read_spool(folder)
    measured = requests[requests["phase"] == Phase.MEASURE]
    assert outcome.ended is None and (measured["status"] == Status.OK).all()
    assert outcome.client_cpu_s is not None
    return outcome.client_cpu_s / len(measured)


def perf_analyzers(triton: EmbeddedServer, protocol: Protocol, folder: Path) -> float:
    """CPU seconds per request of one perf_analyzer process, its start taken off.

    Triton's count of successes is the count of requests: perf_analyzer doesn't report those of its warm-up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    startup_s, _ = _perf_analyzer(triton, protocol, folder, requests=CONCURRENCY)
    cpu_s, requests = _perf_analyzer(triton, protocol, folder, requests=REQUESTS)
    return (cpu_s - startup_s) / requests


def _perf_analyzer(
    triton: EmbeddedServer, protocol: Protocol, folder: Path, requests: int
) -> tuple[float, int]:
    """(CPU seconds, requests answered) of one run of so many requests."""
    binary = unpacked(PERF_ANALYZER) / "tritonclient-2.48.0.data" / "data" / "bin" / "perf_analyzer"
    binary.chmod(0o755)
    libraries = folder / "lib"
    libraries.mkdir(exist_ok=True)
    (cudart,) = provision().libs.glob("libcudart-*.so.12*")
    if not (libraries / "libcudart.so.12").exists():
        (libraries / "libcudart.so.12").symlink_to(cudart)
    values = folder / "values.json"
    values.write_text(json.dumps({"data": [{"X": {"content": [0.0] * WIDTH, "shape": [WIDTH]}}]}))
    port = triton.http_port if protocol == "http" else triton.grpc_port
    command = [str(binary), "-m", "cached", "-i", protocol, "-u", f"127.0.0.1:{port}"]
    command += ["--concurrency-range", str(CONCURRENCY), "--input-data", str(values), "--shape", f"X:{WIDTH}"]
    # A count rather than a time window, after which it can go on for minutes over HTTP (seen).
    command += ["--request-count", str(requests)]
    before = triton.statistics("cached").successes
    cpu_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"LD_LIBRARY_PATH": str(libraries)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=folder
    )
    cpu_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answered = triton.statistics("cached").successes - before
    assert answered > 0, done.stdout + done.stderr
    user_s = cpu_after.ru_utime - cpu_before.ru_utime
    system_s = cpu_after.ru_stime - cpu_before.ru_stime
    return user_s + system_s, answered


@pytest.mark.triton
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_client_cpu_per_request(
    benchmark: BenchmarkFixture,
    triton: EmbeddedServer,
    tmp_path: Path,
    protocol: Protocol,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = None if ctypes.util.find_library("b64") else "perf_analyzer needs libb64: apt install libb64-0d"
    found: dict[str, list[float]] = {"ours": [], "perf_analyzer": []}

    def one_round() -> None:
        number = len(found["ours"])
        found["ours"].append(ours(triton, protocol, tmp_path / f"ours-{number}"))
        if missing is None:
            found["perf_analyzer"].append(perf_analyzers(triton, protocol, tmp_path / f"theirs-{number}"))

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    us = {name: statistics.median(values) * 1e6 for name, values in found.items() if values}
    benchmark.extra_info.update({f"{name}_us_per_request": value for name, value in us.items()})
    with capsys.disabled():
        print(f"\nclient CPU per request, {protocol}, concurrency {CONCURRENCY}, median of {ROUNDS} rounds:")
        for name, value in us.items():
            spread = f"{min(found[name]) * 1e6:.0f} to {max(found[name]) * 1e6:.0f}"
            print(f"  {name:14} {value:6.1f} us   ({spread})")
        if missing is None:
            print(f"  ratio          {us['ours'] / us['perf_analyzer']:6.2f}")
        else:
            print(f"  perf_analyzer: not measured: {missing}")
