"""`harness run` as a user knows it: one document, a page, exit codes."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from selenium import webdriver

import harness
from tests import nvml
from tests.e2e.conftest import ONE, TINY, TWO, Workplace, valid
from tests.nvml import NvmlDouble
from tests.report.browser import complaints, drawn, requested, rows, visit

MINILM = """\
model: minilm
server: {max_batch: [1, 8], queue_delay_us: 500}
requests:
  - {name: short, tokens: 16, weight: 8}
  - {name: long, tokens: 64, weight: 2}
load: {concurrency: [4]}
measure: {warmup_s: 0.5, duration_s: 1, at_most_s: 10, precision: {p50: 0.5}}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
objective: {p50_ms: 10000, errors: 0}
"""


def counts_agree(path: Path, point: dict[str, Any]) -> None:
    """The client's own samples, Triton's statistics and the document have one number of requests."""
    frame = pd.read_parquet(path / point["samples"] / "requests.parquet")
    ok = frame[(frame.phase == "measure") & (frame.status == "ok")]
    assert len(ok) > 0
    assert len(ok) == point["requests"] - point["errors"] == point["server"]["requests"]
    batches = {kind["name"]: kind["batch"] for kind in point["classes"]}
    assert ok.request_class.map(batches).astype(int).sum() == point["server"]["inferences"]


@pytest.mark.alone  # beside others, what a p99 takes may be more than its longest time
def test_a_point_that_ends_before_its_longest_time_has_the_p99_that_it_went_on_for(
    workplace: Workplace,
) -> None:
    text = ONE.replace("at_most_s: 10, precision: {p50: 0.5}", "at_most_s: 30")
    (point,) = valid(workplace.run("run", workplace.scenario(text), "--json"))["points"]
    assert point["duration_s"] < 29 and point["stopped_by"] != "time"
    assert point["latency_s"]["p99"] is not None
    again = workplace.run("report", point_folder(workplace), "--json")
    assert again.document["points"][0]["latency_s"] == point["latency_s"]


def point_folder(workplace: Workplace) -> Path:
    (run,) = workplace.runs
    return run


def test_one_document_with_every_figure_of_a_real_model(workplace: Workplace) -> None:
    done = workplace.run("run", workplace.scenario(MINILM), "--json")
    document = valid(done)
    assert {"run_id", "path", "points", "schema_version", "environment", "model"} <= document.keys()
    path = Path(document["path"])
    assert path.name == document["run_id"]
    assert len(document["points"]) == 2
    for point in document["points"]:
        assert all(check["met"] for check in point["objective"]) and len(point["objective"]) == 2
        assert set(point["params"]) == {"server.max_batch"}
        assert point["throughput_inferences_per_s"] > 0
        latency = point["latency_s"]
        # On a busy machine the slow requests come in clusters, and a tail may have no answer but its reason.
        names = ("p50", "p90", "p95", "p99", "p999")
        given = [latency[name] for name in names if latency[name] is not None]
        assert latency["p50"] in given and given == sorted(given) and 0 < given[0] <= given[-1] < 10
        assert {name for name in names if latency[name] is None} == latency["unsupported"].keys()
        assert latency["p50"] <= latency["max"] and 0 < latency["mean"] < 10
        assert point["gpu"] is None
        server = point["server"]
        assert 0 < server["compute_infer_s"] < server["request_s"]
        # Of the whole phase, as Triton's means are; of few requests those at its ends can make it negative.
        samples = harness.samples(path, point["id"]).query("status == 'ok'")
        service_s = float((samples["completed_s"] - samples["sent_s"]).mean())
        parts = ("queue_s", "compute_input_s", "compute_infer_s", "compute_output_s")
        outside_s = service_s - sum(server[part] for part in parts)
        network_s = point["time_s"]["network_s"]
        assert network_s == pytest.approx(outside_s, abs=1e-6) if outside_s > 0 else network_s is None
        assert server["mean_batch"] >= 1
        by_batch = server["by_batch"]
        assert sum(each["executions"] for each in by_batch) == server["executions"]
        assert sum(each["executions"] * each["batch"] for each in by_batch) == server["inferences"]
        assert point["host"]["server_cpu_cores"] > 0.1
        assert 0 < point["host"]["client_cpu_cores"] < 0.9
        assert {kind["name"] for kind in point["classes"]} == {"short", "long"}
        counts_agree(path, point)
    batched, alone = document["points"][1]["server"], document["points"][0]["server"]
    assert alone["mean_batch"] == 1
    assert batched["mean_batch"] > 1, "four users and a queue delay make batches"
    (answer,) = document["answers"]
    assert answer["rule"] == "objective" and answer["workload"] == document["points"][0]["workload"]
    assert {answer["best"], *answer["ties"]} <= {point["id"] for point in document["points"]}
    assert answer["default"] == document["points"][1]["id"], "a max batch of 8"
    assert "Python backend" in document["environment"]["backend"]
    assert document["model"]["parity"]["cases"]
    assert "[1/2]" in done.stderr, "plain lines where there is no terminal"
    assert "\x1b" not in done.stderr + done.stdout


def test_a_run_opens_in_a_browser_and_its_report_is_made_again_from_the_folder_alone(
    workplace: Workplace, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    done = workplace.run("run", workplace.scenario(TWO), "--json")
    document = valid(done)
    run = Path(document["path"])
    visit(browser, run / "report.html")
    assert [row["id"] for row in rows(browser)] == [point["id"] for point in document["points"]]
    assert len(document["points"]) == 2
    assert {"curve", "percentiles", "breakdown"} <= drawn(browser)
    assert complaints(browser) == []
    assert requested(browser) == []

    files = ["report.html", "summary.md", "perf_analyzer-concurrency.csv"]
    for name in ["result.json", *files]:
        assert (run / name).stat().st_size > 0
    moved = tmp_path / "elsewhere" / run.name
    moved.parent.mkdir()
    run.rename(moved)
    for name in files:
        (moved / name).unlink()
    again = workplace.run("report", moved, "--json")
    assert valid(again)["points"] == done.document["points"]
    for name in files:
        assert (moved / name).stat().st_size > 0


def test_grpc_open_loops_and_every_shape_of_load(workplace: Workplace) -> None:
    (workplace.path / "times.txt").write_text("".join(f"{i * 0.01:.3f}\n" for i in range(100)))
    second = TINY.replace("[4, 8]", "8").replace("duration_s: 2", "duration_s: 1")
    for load, requests in (
        ("{rate_per_s: 200, arrivals: poisson}", range(150, 251)),
        ("{ramp: {from_per_s: 100, to_per_s: 300}}", range(198, 203)),
        ("{spike: {base_per_s: 100, peak_per_s: 300, at_s: 0.5, for_s: 0.25}}", range(148, 153)),
        ("{replay: {file: times.txt}}", range(100, 101)),
    ):
        text = second.replace("{concurrency: [2]}", load) + "protocol: [http, grpc]\n"
        document = valid(workplace.run("run", workplace.scenario(text), "--json"))
        assert [point["params"]["protocol"] for point in document["points"]] == ["http", "grpc"]
        for point in document["points"]:
            assert point["requests"] in requests, load
            # How punctual the client is, is the machine's business here; that it says so is ours.
            assert point["send_lag_p99_s"] is not None
            counts_agree(Path(document["path"]), point)


FACTORY = """
import torch
from harness.model import Axis, Input, TorchModel

def small_net():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    pixels = Input("pixels", "FP32", ("batch", 3, "height", "width"), low=0, high=1)
    return TorchModel(net, inputs=(pixels,), axes=(Axis("height", least=8), Axis("width", least=8)))
"""


def test_a_torch_factory_and_a_hugging_face_folder_are_measured(workplace: Workplace) -> None:
    from transformers import BertConfig, BertModel  # takes three seconds, in each process that collects

    (workplace.path / "our_models_with_a_rather_long_name.py").write_text(FACTORY)
    folder = workplace.path / "Tiny BERT, ours!"
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for model, request in (
        ("our_models_with_a_rather_long_name:small_net", "{name: image, height: 16, width: 24}"),
        (f"'{folder.name}'", "{name: text, tokens: 8, batch: 2}"),
    ):
        text = ONE.replace("double.onnx", model).replace("{name: small, axes: {n: 16}}", request)
        document = valid(workplace.run("run", workplace.scenario(text), "--json"))
        (point,) = document["points"]
        assert any(not case["traced"] for case in document["model"]["parity"]["cases"])
        counts_agree(Path(document["path"]), point)


def test_real_bytes_and_images(workplace: Workplace) -> None:
    magika = ONE.replace("double.onnx", "magika").replace("{name: small, axes: {n: 16}}", "{name: file}")
    images = ONE.replace("double.onnx", "ocr-detector").replace(
        "{name: small, axes: {n: 16}}", "{name: image, height: [64, 96], width: 64}"
    )
    for text, points in ((magika, 1), (images, 2)):
        document = valid(workplace.run("run", workplace.scenario(text), "--json"))
        assert len(document["points"]) == points
        for point in document["points"]:
            counts_agree(Path(document["path"]), point)


@pytest.mark.parametrize("missed", ["{p50_ms: 0.0001}", "{throughput_per_s: 900000}"])
def test_the_exit_code_tells_a_missed_objective(workplace: Workplace, missed: str) -> None:
    done = workplace.run("run", workplace.scenario(ONE + f"objective: {missed}\n"), "--json")
    assert done.code == 1, done.stderr
    (point,) = done.document["points"]
    assert point["verdict"] == "valid"
    (check,) = point["objective"]
    assert check["met"] is False


def test_too_short_for_the_objective_is_inconclusive(workplace: Workplace) -> None:
    text = TINY.replace("[4, 8]", "8").replace("{concurrency: [2]}", "{rate_per_s: 100}")
    text = text.replace("duration_s: 2", "duration_s: 1")
    done = workplace.run("run", workplace.scenario(text + "objective: {p99_ms: 100}\n"), "--json")
    assert done.code == 3
    (point,) = done.document["points"]
    assert point["verdict"] == "inconclusive"
    assert any("p99" in reason for reason in point["reasons"])
    assert point["latency_s"]["p99"] is None


def test_set_and_dry_run(workplace: Workplace) -> None:
    scenario = workplace.scenario()
    done = workplace.run("run", scenario, "--dry-run", "--json", "--set", "server.max_batch=[1,2,4]")
    assert done.code == 0, done.stderr
    assert [p["params"]["server.max_batch"] for p in done.document["points"]] == [1, 2, 4]
    assert 6 < done.document["expected_s"] < 60
    assert not workplace.runs, "a dry run leaves nothing"


def test_a_server_that_is_already_running_is_measured(workplace: Workplace) -> None:
    serving = workplace.start(
        *("serve", "double.onnx", "--max-batch", "16", "--instances", "2"),
        *("--http-port", "0", "--grpc-port", "0", "--for-s", "600", "--json"),
    )
    assert serving.stdout is not None
    at = json.loads(serving.stdout.readline())
    layout = workplace.path / "repo" / "double" / "1" / "model.onnx"
    layout.parent.mkdir(parents=True)
    layout.write_bytes((workplace.path / "double.onnx").read_bytes())
    text = ONE.replace("double.onnx", "repo/double/1/model.onnx").replace(
        "server: {queue_delay_us: 5000, max_batch: 8}\n", ""
    )
    text += "protocol: [http, grpc]\n"
    port = at["grpc"].rpartition(":")[2]
    arguments = ("run", workplace.scenario(text), "--url", at["http"], "--grpc-port", port, "--json")
    done = workplace.run(*arguments)
    other = workplace.run(*arguments, "--set", "server.max_batch=4")
    larger = workplace.run(*arguments, "--set", "requests.small.batch=[1,32]")
    serving.terminate()
    assert serving.wait(30) == 0
    assert larger.code == 2 and "is loaded with max_batch_size 16 on the server at" in larger.stderr
    assert other.code == 4 and "start it with these settings (`harness serve --help`)" in other.stderr
    document = valid(done)
    assert "whoever reaches" not in done.stderr, "nothing there is open"
    assert "double is measured as it is loaded there: max batch size 16, instances KIND_CPU 2" in done.stderr
    assert len(document["points"]) == 2
    assert document["environment"]["server_mode"] == "remote"
    for point in document["points"]:
        assert (point["point"]["server"]["max_batch"], point["loaded"]["max_batch"]) == (None, 16)
        assert "the 2 instances were busy" in point["bottleneck"]["why"]
        assert point["host"]["server_cpu_cores"] is None, "processes of somebody else's server aren't seen"
        assert point["answer_check"]["compared"] > 0 and point["answer_check"]["different"] == 0
        counts_agree(Path(document["path"]), point)


def test_gpu_figures_come_through_pynvml(workplace: Workplace, nvml_double: NvmlDouble) -> None:
    workplace.env = nvml_double("")
    text = ONE.replace("max_batch: 8", "max_batch: 8, kind: cpu")
    document = valid(workplace.run("run", workplace.scenario(text), "--json"))
    (point,) = document["points"]
    (gpu,) = point["gpu"]
    assert gpu["name"] == nvml.NAME
    # On a busy machine a millisecond passes between a reading's time and its counter, of half a second.
    assert gpu["power_w_mean"] == pytest.approx(nvml.POWER_W, rel=0.02)
    assert gpu["energy_j"] == pytest.approx(nvml.POWER_W * point["duration_s"], rel=0.02)
    assert gpu["throttle_reasons"] == list(nvml.THROTTLE_REASONS)
    assert document["environment"]["gpus"][0]["driver"] == nvml.DRIVER


def test_the_same_from_python(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace.path)
    result = harness.run(workplace.scenario(ONE), overrides=["server.max_batch=4"], quiet=True)
    assert [p.verdict for p in result.points] == ["valid"], result.points[0].reasons
    assert harness.rebuild(result.path).points == result.points
    (point,) = result.points
    requests = harness.samples(result, point)
    assert (len(requests), int((requests.status != "ok").sum())) == (point.requests, point.errors)
    assert point.steady_state is not None
    steady = requests[requests.status == "ok"].iloc[point.steady_state.counted]
    assert steady.latency_s.mean() == pytest.approx(point.latency_s.mean)
    assert len(harness.samples(result.path, point.point.label, phase="warmup")) > 0
    with (
        harness.serve("double.onnx") as at,
        urllib.request.urlopen(f"{at.http}/v2/models/double/ready") as ready,
    ):
        assert ready.status == 200
    assert harness.examine().ready
    with pytest.raises(harness.InputError, match="did you mean"):
        harness.run(workplace.scenario(TINY.replace("max_batch", "max_batsh")))
