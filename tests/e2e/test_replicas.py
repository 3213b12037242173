"""Several Tritons that serve the same: a load is spread evenly over them, and each has figures of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import harness
from tests.e2e.conftest import Workplace, ended, under_load, valid
from tests.e2e.fleet import Fleet, fleet

pytestmark = pytest.mark.triton

SCENARIO = """\
model: {served: naps}
requests: [{name: one}, {name: two, weight: 0.5, batch: 2}]
load: {concurrency: 3}
measure: {warmup_s: 0.1, duration_s: 1.5, at_most_s: 15, precision: {p50: 0.9}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, send_lag_ms: 10000, idle_users: 1, drift: 1000}
"""
STREAM = [[{"x": [1.0]}, {"x": [2.0]}, {"x": [3.0]}]]


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("alike"), 0.002, 0.002) as found:
        yield found


def shares(point: dict[str, Any]) -> list[int]:
    return [each["requests"] for each in point["replicas"]]


@pytest.mark.parametrize("load", ["{concurrency: 3}", "{rate_per_s: 60}", "{concurrency: 4, workers: 2}"])
def test_each_gets_as_many_requests_over_both_wires(workplace: Workplace, alike: Fleet, load: str) -> None:
    both = ("--set", "protocol=[http, grpc]", "--set", f"load={load}")
    done = workplace.run("run", workplace.scenario(SCENARIO), *alike.way, *both, "--json")
    found = valid(done)
    assert done.stderr.count("2 replicas get as much of the load each: 127.0.0.1:") == 1
    assert found["environment"]["server_url"] == ",".join(alike.urls)
    assert len(found["points"]) == 2
    for point in found["points"]:
        assert point["errors"] == 0 and sum(shares(point)) == point["requests"] > 50
        assert abs(shares(point)[0] - shares(point)[1]) <= 4
        for replica, address in zip(point["replicas"], alike.urls, strict=True):
            assert f"http://{replica['address']}" == address
            assert replica["server"]["requests"] == replica["requests"]
            assert replica["latency_s"]["min"] > 0.002
        assert point["server"]["requests"] == point["requests"], "Triton's count is that of both"
        assert [each["name"] for each in point["classes"]] == ["one", "two"]
        one, two = (each["requests"] for each in point["classes"])
        assert one > 1.3 * two and one + two == point["requests"]
        assert point["answer_check"]["compared"] > 0 == point["answer_check"]["different"]
        samples = harness.samples(Path(found["path"]), point["id"])
        assert samples["replica"].value_counts().to_dict() == {
            each["address"]: each["requests"] for each in point["replicas"]
        }
        assert set(samples["request"]) == {"one", "two"}
    html = (Path(found["path"]) / "report.html").read_text()
    assert "The servers that the load was spread over" in html
    again = workplace.run("report", found["path"], "--json")
    assert valid(again)["points"] == found["points"]


def test_a_replica_that_is_slower_is_named(workplace: Workplace, tmp_path: Path) -> None:
    with fleet(tmp_path, 0.002, 0.02) as unlike:
        # Of a hundred requests each the median is always supported.
        text = SCENARIO.replace("{concurrency: 3}", "{rate_per_s: 60}").replace(
            "duration_s: 1.5", "duration_s: 4"
        )
        (point,) = valid(workplace.run("run", workplace.scenario(text), *unlike.way, "--json"))["points"]
    fast, slow = point["replicas"]
    assert slow["latency_s"]["p50"] > 0.02 > fast["latency_s"]["p50"]
    (note,) = [note for note in point["notes"] if "the replicas aren't alike" in note]
    assert f"ms at {slow['address']} and" in note and abs(shares(point)[0] - shares(point)[1]) <= 1


def test_a_sequence_stays_with_its_replica(workplace: Workplace, alike: Fleet) -> None:
    text = SCENARIO.replace("naps", "direct").replace(
        "[{name: one}, {name: two, weight: 0.5, batch: 2}]", "[{name: talk, sequence: {}, data: talk.json}]"
    )
    (workplace.path / "talk.json").write_text(json.dumps({"data": STREAM}))
    for load in ("{concurrency: 3}", "{rate_per_s: 30}"):
        done = workplace.run("run", workplace.scenario(text), *alike.way, "--set", f"load={load}", "--json")
        (point,) = valid(done)["points"]
        assert point["errors"] == point["sequences"]["failed"] == 0, "the model fails on a step that it lacks"
        assert point["sequences"]["whole"] > 5 and min(shares(point)) > 5
        assert abs(shares(point)[0] - shares(point)[1]) <= 9, "three users, and three steps"


def test_what_replicas_must_have_in_common_is_one_sentence(
    workplace: Workplace, alike: Fleet, tmp_path: Path
) -> None:
    file = workplace.scenario(SCENARIO)
    twice = workplace.run("run", file, "--url", ",".join([alike.urls[0]] * 2))
    assert twice.code == 2 and "names a server twice: name each replica once" in twice.stderr
    metrics = f"http://127.0.0.1:{alike.servers[0].metrics_port}/metrics"
    watched = workplace.run("run", file, *alike.way, "--metrics-url", metrics)
    assert watched.code == 2 and "read one machine, and the load goes to 2 replicas" in watched.stderr
    shared = workplace.run("run", file, *alike.way, "--set", "shared_memory=system")
    assert shared.code == 2 and "with a single server only" in shared.stderr
    with fleet(tmp_path, 0.002, more="parameters { key: 'a' value: { string_value: 'b' } }") as other:
        done = workplace.run("run", file, "--url", f"{alike.urls[1]},{other.urls[0]}")
    assert done.code == 2 and "has another naps than Triton at 127.0.0.2" in done.stderr


def test_one_that_stops_answering_spoils_the_point(workplace: Workplace, tmp_path: Path) -> None:
    with fleet(tmp_path, 0.002, 0.002) as two:
        text = SCENARIO.replace("duration_s: 1.5, at_most_s: 15, precision: {p50: 0.9}", "duration_s: 20")
        process = workplace.start("run", workplace.scenario(text), *two.way, "--json")
        under_load(workplace, process)
        two.servers[1].stop()
        done = ended(process)
    assert done.code == 3, done.stderr
    (point,) = done.document["points"]
    assert "the server at 127.0.0.2:" in " ".join(point["reasons"])


NAMED = """\
import socket

real = socket.getaddrinfo

def getaddrinfo(host, port, *args, **more):
    if host != "fleet.test":
        return real(host, port, *args, **more)
    return [found for number in ("127.0.0.1", "127.0.0.2") for found in real(number, port, *args, **more)]

socket.getaddrinfo = getaddrinfo
"""


def test_a_name_with_several_addresses_is_as_many_replicas(workplace: Workplace, alike: Fleet) -> None:
    """The double is that of the resolver: harness connects to numbers, and asks for the name."""
    (workplace.path / "sitecustomize.py").write_text(NAMED)
    workplace.env["PYTHONPATH"] = str(workplace.path)
    url = f"http://fleet.test:{alike.servers[0].http_port}"
    done = workplace.run("run", workplace.scenario(SCENARIO), "--url", url, "--json")
    (point,) = valid(done)["points"]
    assert [each["address"].partition(":")[0] for each in point["replicas"]] == ["127.0.0.1", "127.0.0.2"]
    assert abs(shares(point)[0] - shares(point)[1]) <= 4
    assert done.document["environment"]["server_url"] == url
