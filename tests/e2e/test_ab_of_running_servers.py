"""`harness ab` of two Tritons that run already."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands.comparing.side_options import sides_of
from harness.schema.errors import InputError
from tests.e2e.conftest import Workplace
from tests.e2e.fleet import fleet

SCENARIO = """\
model: {served: naps}
requests: [{name: one}]
load: {concurrency: 1}
regression:
  minutes_per_point: 0.6
  round_s: 2
  margins: {throughput: 0.5, p50: 0.6, p99: 0.9, error_rate: 0.5}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""


@pytest.mark.triton
def test_the_slower_of_two_that_run_is_named(workplace: Workplace, tmp_path: Path) -> None:
    file = workplace.scenario(SCENARIO)
    with fleet(tmp_path, 0.004, 0.04) as unlike:
        one, other = unlike.urls
        done = workplace.run("ab", file, "--url", one, "--candidate-url", other, "--json")
        same = workplace.run("ab", file, "--url", one)
        version = workplace.run("ab", file, "--url", one, "--candidate-set", "model.version=1")
        at_once = workplace.run("ab", file, "--url", f"{one},{other}", "--candidate-url", one)
    assert done.code == 1, f"{done.stderr}{done.stdout[:5000]}"
    found = done.document
    assert [arm["environment"]["server_url"] for arm in found["arms"]] == [one, other]
    (point,) = found["points"]
    outcomes = {each["metric"]: each["outcome"] for each in point["metrics"]}
    assert outcomes["p50"] == outcomes["throughput"] == "regressed" and outcomes["error_rate"] == "pass"
    assert next(each["part"] for each in point["moved"] if each["told"]) == "compute"
    (folder,) = workplace.runs
    summary = (folder / "summary.md").read_text()
    assert "ran throughout: what differs from one start of a server to the next is in no interval" in summary
    assert "ran throughout" in (folder / "ab.html").read_text()
    for refused in (same, version, at_once):
        assert refused.code == 2 and "both would ask naps of the same server" in refused.stderr


@pytest.mark.triton
def test_two_versions_on_one_server_are_told_apart(workplace: Workplace, tmp_path: Path) -> None:
    file = workplace.scenario(SCENARIO)
    versions = ("--set", "model.version=1", "--candidate-set", "model.version=2")
    with fleet(tmp_path, 0.004, second_s=0.04) as found:
        done = workplace.run("ab", file, "--url", found.urls[0], *versions, "--json")
        settings = ("--candidate-set", "server.instances=2")
        refused = workplace.run("ab", file, "--url", found.urls[0], *versions, *settings)
    assert done.code == 1, f"{done.stderr}{done.stdout[:5000]}"
    (point,) = done.document["points"]
    assert {each["metric"]: each["outcome"] for each in point["metrics"]}["p50"] == "regressed"
    assert done.document["differs"]["model.version"] == ["1", "2"]
    assert refused.code == 2 and "both would load naps anew on the same server" in refused.stderr


def test_each_side_has_the_options_of_its_own_kind() -> None:
    both = {"url": "http://a", "grpc_port": 1, "http_ca": "ca.pem", "server": None, "image": None}
    assert sides_of(both, {}) == (both, both), "both at the same server"
    _, changed = sides_of(both, {"url": "http://b", "grpc_port": 2})
    assert changed == {"url": "http://b", "grpc_port": 2, "http_ca": "ca.pem"}
    baseline, changed = sides_of(both, {"server": "embedded"})
    assert baseline == both and changed == {"server": "embedded", "image": None}
    started = {"server": "docker", "image": "x", "http_ca": "ca.pem", "url": None}
    baseline, changed = sides_of(started, {"url": "http://b"})
    assert baseline == {"server": "docker", "image": "x"}
    assert changed == {"http_ca": "ca.pem", "url": "http://b"}
    with pytest.raises(InputError, match="--candidate-grpc-port is of another server"):
        sides_of(both, {"grpc_port": 3})
