"""Inputs of every rank, scalars, those whose sizes differ within a batch; and what an owner may choose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.triton.their_repository import TheirRepository
from tests.e2e.conftest import Workplace, valid
from tests.triton import their_models
from tests.triton.open_server import OpenServer

pytestmark = pytest.mark.triton

RANKS = {rank: " ".join("21" * 4)[: 2 * rank - 1].replace(" ", ", ") for rank in range(1, 9)}
"""Dimensions of each rank: 2, 1, 2, 1 and so on."""
SUMS = """
total = sum(float(tensor.as_numpy().sum()) for tensor in request.inputs())
assert self.given(request, "scalar").shape == (1,), "the batch is all that it has"
return self.said(total=np.full((1, 1), total, np.float32))
"""
RAGGED = """
import time
time.sleep(0.001)
return self.said(total=np.full((1, 1), self.given(request, "x").sum(), np.float32))
"""
CHOSEN = """
dynamic_batching {
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy { max_queue_size: 5 default_timeout_microseconds: 1500000 }
}
instance_group [ { kind: KIND_CPU rate_limiter { resources [ { name: "r" count: 1 } ] } } ]
model_warmup [ {
  name: "zeros" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 4 ] zero_data: true } }
} ]
"""
TIMES = """\
measure: {warmup_s: 0.1, duration_s: 1, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenServer]:
    folder = tmp_path_factory.mktemp("shapes")
    repository = folder / "models"
    total = {"total": ("FP32", "1")}
    ranks = {f"x{rank}": ("FP32", dims) for rank, dims in RANKS.items()} | {"scalar": ("FP32", "1")}
    scalar = {"scalar": "reshape: { shape: [ ] }"}  # of a model that batches: Triton has no other scalars
    their_models.python(repository, "ranks", SUMS, ranks, total, max_batch=4, flags=scalar)
    their_models.python(
        repository,
        "ragged",
        RAGGED,
        {"x": ("FP32", "-1")},
        total,
        max_batch=8,
        flags={"x": "allow_ragged_batch: true"},
    )
    their_models.python(repository, "chosen", RAGGED, {"x": ("FP32", "4")}, total, max_batch=8, more=CHOSEN)
    theirs = TheirRepository.at(repository)
    with OpenServer(folder / "none", folder / "triton.log", theirs=theirs) as found:
        found.start(theirs.entry("ranks", None))
        yield found


def test_tensors_of_rank_1_to_8_and_a_scalar(workplace: Workplace, server: OpenServer) -> None:
    where = ("--url", f"http://{server.address}", "--grpc-port", str(server.grpc_port), "--json")
    text = f"model: {{served: ranks}}\nprotocol: [http, grpc]\nload: {{concurrency: 1}}\n{TIMES}"
    found = valid(workplace.run("run", workplace.scenario(text + "requests: [{name: all}]\n"), *where))
    for point in found["points"]:
        assert point["errors"] == 0 < point["requests"]
        assert point["answer_check"]["different"] == 0 < point["answer_check"]["compared"]
    dims = {tensor["name"]: tensor["dims"] for tensor in found["model"]["inputs"]}
    assert [len(dims[f"x{rank}"]) for rank in RANKS] == list(RANKS)


def test_what_its_owner_chose_is_shown(workplace: Workplace, server: OpenServer) -> None:
    where = ("--url", f"http://{server.address}")
    assert workplace.run("init", "chosen", *where).code == 0
    first, *_ = (workplace.path / "scenarios/chosen.yaml").read_text().splitlines()
    told = (
        "a queue of 5 requests at most, a timeout of 1500 ms in the queue, 2 priorities, rate "
        "limiter, 1 warm-up request at load"
    )
    assert told in first, first


def test_requests_of_different_sizes_share_a_batch(workplace: Workplace, server: OpenServer) -> None:
    text = f"""\
model: {{served: ragged}}
protocol: [http, grpc]
requests:
  - {{name: short, tokens: 3, shapes: {{x: [tokens]}}}}
  - {{name: long, tokens: 50, shapes: {{x: [tokens]}}}}
load: {{concurrency: 6}}
{TIMES}"""
    where = ("--url", f"http://{server.address}", "--grpc-port", str(server.grpc_port), "--json")
    found = valid(workplace.run("run", workplace.scenario(text), *where))
    assert found["model"]["inputs"][0]["ragged"] is True
    for point in found["points"]:
        assert point["errors"] == 0 and point["server"]["mean_batch"] > 1.3, "they wait together"
        samples = harness.samples(Path(found["path"]), point["id"])
        sizes = samples.groupby("request", observed=True)["request_bytes"].median()
        assert sizes["long"] > sizes["short"] + 100
