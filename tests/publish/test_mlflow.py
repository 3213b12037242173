"""A real MLflow server on loopback with SQLite: told by the real command, asked over its own REST interface.

The server takes 40 s to start, and all of it a minute and a half: `make mlflow-test` runs these tests.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from harness.cache import file_sha256
from harness.commands import report
from harness.commands.mlflow import tracked
from harness.commands.progress import Progress
from harness.publish.mlflow_server import tracking_uri
from harness.publish.tracked_run import of_comparison, of_night, of_run
from harness.schema.errors import InputError
from harness.store import ab_file, night_file
from tests.e2e.conftest import Finished
from tests.ports import free_port
from tests.publish import mlflow_venv
from tests.publish.compared_night import NIGHT
from tests.report.factory import DEMO_RUN
from tests.report.test_comparison_page import comparison
from tests.store.test_runs_of_0_1 import RUNS

real_server = pytest.mark.skipif(
    mlflow_venv.ASKED not in os.environ, reason="it takes minutes: `make mlflow-test` runs it"
)


@dataclass
class Server:
    uri: str

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        request = Request(f"{self.uri}/api/2.0/mlflow/{path}", json.dumps(body).encode() if body else None)
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        found = self.ask(f"experiments/get-by-name?experiment_name={experiment}")["experiment"]
        return list(self.ask("runs/search", experiment_ids=[found["experiment_id"]]).get("runs", ()))

    def files(self, run: dict[str, Any], path: str = "") -> set[str]:
        listed = self.ask(f"artifacts/list?run_id={run['info']['run_id']}&path={path}")
        return {file["path"] for file in listed.get("files", ())}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place, port = tmp_path_factory.mktemp("mlflow"), free_port()
    stored = [
        "--backend-store-uri",
        f"sqlite:///{place}/mlflow.db",
        "--artifacts-destination",
        f"{place}/files",
    ]
    command = [str(mlflow_venv.python()), "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", *stored],
            stdout=log,
            stderr=log,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    try:
        found = Server(f"http://127.0.0.1:{port}")
        _wait(found, process, place / "log")
        yield found
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 240
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urlopen(f"{server.uri}/health", timeout=10):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def command(*arguments: str | Path, **environment: str) -> Finished:
    done = subprocess.run(
        mlflow_venv.with_harness("mlflow", *map(str, arguments)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=240,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that was measured, whose model is still there."""
    folder = Path(shutil.copytree(RUNS / "wires", tmp_path / "wires"))
    report.rebuild(folder, Progress(quiet=True))
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no model, but with a hash")
    result = json.loads((folder / "result.json").read_text())
    result["model"] |= {"onnx_path": str(file), "sha256": file_sha256(file)}
    result["environment"]["git_commit"] = "0123abc+dirty"
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def told(run: dict[str, Any], what: str) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in run["data"].get(what, ())}


@real_server
def test_a_run_is_there_once_with_its_figures_files_and_model(server: Server, run_folder: Path) -> None:
    asked = (run_folder, "--experiment", "speed", "--register-model", "encoder")
    first = command(*asked, MLFLOW_TRACKING_URI=server.uri, MLFLOW_TRACKING_TOKEN="s3cret")
    assert first.code == 0, first.stderr
    assert (
        first.stdout.startswith(f"MLflow: {server.uri}/#/experiments/")
        and len(first.stdout.splitlines()) == 1
    )
    assert "model: encoder, version 1" in first.stderr and "s3cret" not in first.stdout + first.stderr
    again = command(*asked, "--tracking-uri", server.uri)
    assert again.code == 0 and again.stdout == first.stdout, again.stderr
    assert "is there already" in again.stderr and "version 1" in again.stderr
    (run,) = server.runs("speed")
    result = json.loads((run_folder / "result.json").read_text())
    assert run["info"]["status"] == "FINISHED"
    tags, params = told(run, "tags"), told(run, "params")
    assert tags["harness.model_sha256"] == result["model"]["sha256"] and tags["harness.outcome"] == "valid"
    assert tags["mlflow.source.git.commit"] == result["environment"]["git_commit"]
    assert params["scenario"] == result["scenario"] and params["point.1"].endswith("(valid)")
    for metric, value in (
        ("latency_p50_s", lambda point: point["latency_s"]["p50"]),
        ("throughput_requests_per_s", lambda point: point["throughput_requests_per_s"]),
    ):
        history = server.ask(f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}")
        seen = {each.get("step", 0): each["value"] for each in history["metrics"]}
        assert seen == pytest.approx({step: value(point) for step, point in enumerate(result["points"])})
    assert server.files(run) >= {"report.html", "result.json", "summary.md", "benchmark.json", "model"}
    assert server.files(run, "model") == {"model/model.onnx"}
    (version,) = server.ask("model-versions/search?filter=name%3D%27encoder%27")["model_versions"]
    assert version["run_id"] == run["info"]["run_id"] and version["source"].endswith("/model")


@real_server
def test_a_night_that_was_told_by_half_is_told_whole(server: Server, tmp_path: Path) -> None:
    night_file.write(tmp_path, NIGHT)
    (tmp_path / "baseline").mkdir()
    (tmp_path / "baseline" / "scenario.yaml").write_text("model: x")
    experiment = server.ask("experiments/create", name="nights")["experiment_id"]
    key = {"key": "harness.key", "value": tracked(tmp_path).key}
    server.ask("runs/create", experiment_id=experiment, start_time=tracked(tmp_path).started_ms, tags=[key])
    done = command(tmp_path, "--experiment", "nights", "--tracking-uri", server.uri)
    assert done.code == 0, done.stderr
    (run,) = server.runs("nights")
    assert run["info"]["status"] == "FINISHED"
    metrics = told(run, "metrics")
    assert metrics["p50.change"] > 0.05 > metrics["p50.change_low"] - 0.02 and metrics["p99.baseline"] > 0
    assert server.files(run) == {"nightly.json", "baseline"}
    refused = command(tmp_path, "--tracking-uri", server.uri, "--register-model", "x")
    assert refused.code == 2 and "no model is known here" in refused.stderr


@real_server
@pytest.mark.usefixtures("server")
def test_a_server_that_is_down_is_a_sentence_and_loses_nothing(run_folder: Path) -> None:
    before = {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}
    done = command(
        run_folder, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}", MLFLOW_TRACKING_TOKEN="s3cret"
    )
    assert done.code == 4 and done.stdout == ""
    assert "wasn't told, for it doesn't answer: nothing is lost" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "s3cret" not in done.stderr
    assert before == {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "which MLflow server"),
        ("http://user:s3cret@127.0.0.1:5000", "leave credentials out"),
        ("http://s3cret@127.0.0.1:5000", "leave credentials out"),
        ("sqlite:///x.db", "is to begin with http"),
        ("127.0.0.1:5000", "is to begin with http"),
    ],
)
def test_where_to_tell_is_checked_first(given: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        tracking_uri(None, {"MLFLOW_TRACKING_URI": given} if given else {})
    assert "s3cret" not in str(refused.value)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="MLflow is installed here")
def test_without_the_extra_it_says_which(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import harness

    for name in ("TIMEOUT", "MAX_RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")
    with pytest.raises(harness.HarnessError, match=r"pip install 'harness\[mlflow\]'"):
        harness.mlflow(run_folder, tracking_uri="http://127.0.0.1:1")


def test_what_may_not_be_used_or_is_not_there_is_no_metric() -> None:
    found = of_run(DEMO_RUN)
    assert {each.step for each in found.metrics} == set(range(len(DEMO_RUN.points))) - {5}, (
        "point 5 is invalid"
    )
    assert found.tags["harness.outcome"] == "invalid" and found.params["point.5"].endswith("(invalid)")
    names = [each.name for each in found.metrics if each.step == 0]
    assert len(names) == len(set(names)) and "latency_p50_s" in names
    assert all(isinstance(each.value, float | int) for each in found.metrics)
    other = DEMO_RUN.model_copy(update={"run_id": "another"})
    assert of_run(other).key != found.key == of_run(DEMO_RUN).key
    night, alone = of_night(NIGHT), of_comparison(comparison())
    assert night.metrics == alone.metrics and night.tags["harness.kind"] == "nightly"
    assert night.tags["harness.why"] == NIGHT.why and "nightly.json" in night.files


def test_each_kind_of_folder_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no result"):
        tracked(tmp_path)
    ab_file.write(tmp_path, comparison())
    assert tracked(tmp_path).tags["harness.kind"] == "ab"
    night_file.write(tmp_path, NIGHT)
    assert tracked(tmp_path).tags["harness.kind"] == "nightly"
    night_file.write(tmp_path, NIGHT.model_copy(update={"finished_at": None}))
    with pytest.raises(InputError, match="didn't come to its end"):
        tracked(tmp_path)
