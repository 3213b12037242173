"""Requests and answers of nearly 2 GB, which is the most that a protobuf message may have, over both wires.

Run with `pytest -o addopts= --benchmark-only tests/bench/test_largest_message.py`. It takes 15 GB of memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import harness
from harness.schema.scenario import Protocol
from harness.triton.their_repository import TheirRepository
from tests.triton import their_models
from tests.triton.open_server import OpenServer

MEGABYTES = 1900
SUM = "return self.said(total=np.array([self.given(request, 'x').sum(dtype=np.int64)]))"
ONES = "return self.said(y=np.ones(int(self.given(request, 'n').ravel()[0]), np.uint8))"
SCENARIO = """\
model: {{served: {model}}}
protocol: {protocol}
requests: [{{name: large, data: large.npy}}]
load: {{concurrency: 1}}
measure: {{warmup_s: 0, duration_s: 5, timeout_s: 120}}
validity: {{foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    folder = tmp_path_factory.mktemp("large")
    repository = folder / "models"
    their_models.python(repository, "sum", SUM, {"x": ("UINT8", "-1")}, {"total": ("INT64", "1")}, takes_s=0)
    their_models.python(repository, "ones", ONES, {"n": ("INT64", "1")}, {"y": ("UINT8", "-1")}, takes_s=0)
    theirs = TheirRepository.at(repository)
    with OpenServer(folder / "none", folder / "triton.log", theirs=theirs) as found:
        found.start(theirs.entry("sum", None))
        yield found


@pytest.mark.triton
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("model", ["sum", "ones"])
def test_nearly_two_gigabytes(
    benchmark: BenchmarkFixture, server: OpenServer, tmp_path: Path, model: str, protocol: Protocol
) -> None:
    """To the server (`sum`) and from it (`ones`)."""
    size = MEGABYTES * 1_000_000
    sent = np.ones(size, np.uint8) if model == "sum" else np.array([size])
    np.save(tmp_path / "large.npy", sent)
    file = tmp_path / "large.yaml"
    file.write_text(SCENARIO.format(model=model, protocol=protocol))
    where = {"url": f"http://{server.address}", "grpc_port": server.grpc_port, "results": tmp_path}
    found = benchmark.pedantic(lambda: harness.run(file, **where, quiet=True))
    (point,) = found.points
    assert point.requests > 0 and point.errors == 0, (point.reasons, point.error_reasons)
    samples = harness.samples(found, point)
    assert samples["request_bytes" if model == "sum" else "response_bytes"].min() > size
    benchmark.extra_info.update(megabytes_per_s=MEGABYTES * len(samples) / (point.duration_s or 1))
