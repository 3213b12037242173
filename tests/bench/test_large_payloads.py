"""Bytes per second and client CPU of 25 MB tensors, beside perf_analyzer on the same server.

Run with `pytest -o addopts= --benchmark-only tests/bench/test_large_payloads.py`. An image batch goes to the
server (`ends`), and comes from it (`large`), which nobody keeps; then the first again in shared memory. The
models run on Triton's Python backend, whose own copies are the same for both clients. Where there is a GPU,
the same batch goes to a model on it: over the wire, through system memory, and through the GPU's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.calibration.perf_analyzer import problem
from harness.schema.scenario import Protocol, SharedMemory
from harness.triton.embedded import EmbeddedServer
from tests.bench.side_by_side import Question, Rounds, ours, theirs
from tests.load.triton_models import LARGE_MODELS, tiny_triton
from tests.triton import models

SECONDS = 3.0
ROUNDS = 3
REQUESTS = {"none": 60, "system": 400}
CONCURRENCY = 4
WIDTH = 6_250_000
"""FP32 values in the large tensor: 25 MB."""
MEGABYTES = WIDTH * 4 / 1e6


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    # perf_analyzer can't be let into shared memory that is closed to others
    with tiny_triton(tmp_path_factory.mktemp("triton"), more=LARGE_MODELS, closed=False) as server:
        yield server


@pytest.mark.triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("model", "shared_memory"), [("ends", "none"), ("large", "none"), ("ends", "system"), ("large", "system")]
)
def test_bytes_per_second(
    benchmark: BenchmarkFixture,
    triton: EmbeddedServer,
    tmp_path: Path,
    model: str,
    shared_memory: SharedMemory,
    protocol: Protocol,
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = np.zeros(WIDTH, np.float32) if model == "ends" else np.full(1, WIDTH, np.float32)
    question = Question(model, values, protocol, CONCURRENCY, shared_memory)
    output_bytes = WIDTH * 4 if model == "large" else 64
    options = ["--shared-memory", "system", "--output-shared-memory-size", str(output_bytes)]
    found = Rounds([], [])
    missing = problem()

    def one_round() -> None:
        number = len(found.ours)
        found.ours.append(ours(triton, question, tmp_path / f"ours-{number}", SECONDS))
        if missing is None:
            folder = tmp_path / f"theirs-{number}"
            extra = options if shared_memory == "system" else []
            their = theirs(triton, question, folder, REQUESTS[shared_memory], extra)
            found.theirs.extend([] if their is None else [their])

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    which = "to" if model == "ends" else "from"
    with capsys.disabled():
        print(f"\n{MEGABYTES:.0f} MB {which} the server, {protocol}, {CONCURRENCY} at once, ", end="")
        print(f"shared memory: {shared_memory}; median of {ROUNDS} rounds:")
        print(found.said())
        print(f"  ours           {found.throughput_per_s * MEGABYTES:9.0f} MB/s")
        if missing is not None:
            print(f"  {missing}")
    if found.theirs:
        benchmark.extra_info.update(cpu_ratio=found.cpu_ratio, throughput_ratio=found.throughput_ratio)


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("on-gpu")
    with EmbeddedServer(folder / "repository", folder / "triton.log", gpu=True) as server:
        server.serve(models.ends(folder), models.settings(kind="gpu"))
        yield server


@pytest.mark.gpu
@pytest.mark.triton
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("shared_memory", ["none", "system", "cuda"])
def test_bytes_per_second_to_a_model_on_a_gpu(
    benchmark: BenchmarkFixture,
    on_gpu: EmbeddedServer,
    tmp_path: Path,
    shared_memory: SharedMemory,
    protocol: Protocol,
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = Question("ends", np.zeros(WIDTH, np.float32), protocol, CONCURRENCY, shared_memory)
    found = Rounds([], [])

    def one_round() -> None:
        found.ours.append(ours(on_gpu, question, tmp_path / f"ours-{len(found.ours)}", SECONDS))

    benchmark.pedantic(one_round, rounds=ROUNDS, iterations=1)
    megabytes_per_s = found.throughput_per_s * MEGABYTES
    cpu_ms = sorted(cost.cpu_s for cost in found.ours)[ROUNDS // 2] * 1e3
    benchmark.extra_info.update(megabytes_per_s=megabytes_per_s, client_cpu_ms=cpu_ms)
    with capsys.disabled():
        print(f"\n{MEGABYTES:.0f} MB to a GPU, {protocol}, {CONCURRENCY} at once, ", end="")
        print(f"shared memory: {shared_memory}; median of {ROUNDS} rounds:")
        print(f"  {megabytes_per_s:9.0f} MB/s, {cpu_ms:.2f} ms of client CPU a request")
