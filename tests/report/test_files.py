"""The Markdown summary, perf_analyzer's CSV and the resolved scenario."""

import io
import json
import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml

from harness.report.markdown import summary
from harness.report.page.resolved import resolved_scenario
from harness.report.perf_analyzer_csv import CLOSED, OPEN, csv_files
from harness.schema.expansion import expand
from harness.schema.load import Load
from harness.schema.result import (
    Bottleneck,
    Environment,
    GpuEnvironment,
    GpuFigures,
    GpuProbe,
    Latency,
    LoadProcess,
    PointResult,
    RunResult,
    SteadyState,
    TimeSplit,
)
from harness.schema.samples import GpuReading
from harness.schema.shapes.ramp import Ramp
from tests.report import factory, gpu_factory

DOCS = Path(__file__).parents[2] / "docs" / "results.md"

# As perf_analyzer 2.48 heads its file.
PERF_ANALYZER = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency"
)
RUN = factory.run_of(verdicts={5: "invalid", 2: "inconclusive"}, without_server=(7,))


def test_the_csv_has_perf_analyzers_columns_first():
    header = csv_files(RUN)[CLOSED].splitlines()[0]
    assert header == PERF_ANALYZER + ",Point,Verdict"
    rates = csv_files(factory.run_of(factory.OPEN_LOOP))[OPEN].splitlines()[0]
    assert rates == PERF_ANALYZER.replace("Concurrency", "Request Rate") + ",Point,Verdict"


def test_the_csv_holds_the_figures_in_microseconds_by_throughput():
    frame = pd.read_csv(io.StringIO(csv_files(RUN)[CLOSED]))
    assert frame["Inferences/Second"].is_monotonic_increasing
    by_id = {p.id: p for p in RUN.points}
    assert set(frame["Point"]) == {p.id for p in RUN.points if p.verdict != "invalid"}
    for _, row in frame.iterrows():
        point = by_id[row["Point"]]
        assert row["Concurrency"] == point.point.load.shape.users
        assert row["Inferences/Second"] == pytest.approx(point.throughput_inferences_per_s, rel=1e-5)
        assert row["p50 latency"] == pytest.approx(point.service_s.p50 * 1e6, abs=0.51)
        if point.server is None:
            assert pd.isna(row["Server Queue"]) and pd.isna(row["Network+Server Send/Recv"])
            continue
        assert row["Server Compute Infer"] == pytest.approx(point.server.compute_infer_s * 1e6, abs=0.51)
        parts = [c for c in frame.columns if c.startswith("Server") or c.startswith("Network")]
        assert row[parts].sum() == pytest.approx(point.service_s.mean * 1e6, abs=3)


def test_what_harness_cannot_know_is_empty_and_not_zero():
    frame = pd.read_csv(io.StringIO(csv_files(RUN)[CLOSED]))
    assert frame["Client Send"].isna().all() and frame["Client Recv"].isna().all()
    inconclusive = frame[frame["Verdict"] == "inconclusive"]
    assert inconclusive["p99 latency"].isna().all() and len(inconclusive) == 1


def test_open_loop_points_go_to_a_file_of_their_own():
    files = csv_files(factory.run_of(factory.OPEN_LOOP))
    assert set(files) == {OPEN}
    assert pd.read_csv(io.StringIO(files[OPEN]))["Request Rate"].tolist() == [50, 100, 200]


def test_a_ramp_has_no_row_because_it_has_no_rate():
    load = Load(ramp=Ramp(from_per_s=1.0, to_per_s=9.0))
    assert csv_files(factory.run_of(factory.OPEN_LOOP.model_copy(update={"load": load}))) == {}


def test_the_summary_answers_then_lists_every_point():
    text = summary(RUN)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(RUN.points)
    assert len({row.count("|") for row in rows}) == 1
    assert "met at 9, missed at 1 of 10 valid points" in text
    assert "not NVIDIA's C++ backend" in text
    assert f"invalid, {RUN.points[5].id}: 61 of 495 requests failed" in text
    assert "Triton's statistics could not be read" in text  # why there is a dash
    assert "never steady" not in text and "0.400 (189 requests)" in text


def test_the_summary_names_the_bottleneck_of_the_best_point_and_what_was_never_steady():
    text = summary(factory.run_of(never_steady=(0,)))
    assert "- **Bottleneck**: compute: the instance was busy 97% of the time" in text
    assert "| never steady |" in text


def test_a_hostile_name_stays_text_in_the_summary():
    run = factory.run_of(model=factory.artifact(name=factory.HOSTILE, note=factory.HOSTILE))
    text = summary(run)
    assert "<" not in text.replace("&lt;", "")
    assert text.splitlines()[0].startswith("# &lt;/script&gt;")
    assert r"\| \`x\`" in text


def test_nothing_measured_is_said():
    assert "Nothing was measured." in summary(factory.run_of(measured=0))
    assert csv_files(factory.run_of(measured=0)) == {}
    assert resolved_scenario(factory.run_of(measured=0)).startswith("#")


@pytest.mark.parametrize("scenario", [factory.DEMO, factory.OPEN_LOOP, factory.ONE_POINT])
def test_the_resolved_scenario_expands_to_the_same_points(scenario):
    spec = yaml.safe_load(resolved_scenario(factory.run_of(scenario)))
    for key in ("max_batch", "queue_delay_us"):
        values = spec["server"][key]
        spec["server"][key] = tuple(values) if isinstance(values, list) else values
    for request in spec["requests"]:
        request.update(request.pop("axes", {}))
        request.update({k: tuple(v) for k, v in request.items() if isinstance(v, list)})
    spec["requests"] = tuple(spec["requests"])
    spec["load"] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec["load"].items()}
    again = type(scenario).model_validate(spec)
    assert [p.id for p in expand(again)] == [p.id for p in expand(scenario)]


def test_the_csv_has_perf_analyzers_gpu_columns_where_there_were_gpus():
    run = gpu_factory.run_on_two()
    header = csv_files(run)[CLOSED].splitlines()[0]
    assert header == (
        PERF_ANALYZER + ",Avg latency,request/response,response wait,Avg GPU Utilization,Avg GPU Power Usage,"
        "Max GPU Memory Usage,Total GPU Memory,Point,Verdict"
    )
    frame = pd.read_csv(io.StringIO(csv_files(run)[CLOSED]))
    first, second = (gpu.uuid for gpu in run.environment.gpus)
    assert set(frame["Avg GPU Power Usage"]) == {f"{first}:512.5;{second}:498.2;"}
    assert set(frame["Avg GPU Utilization"]) == {f"{first}:0.97;{second}:0.97;"}
    assert set(frame["Total GPU Memory"]) == {f"{first}:{141 * 2**30};{second}:{141 * 2**30};"}
    assert frame["request/response"].isna().all()
    lacking = gpu_factory.without(run.points[0].gpu[0], {"power_w_mean": "no"})
    points = tuple(p.model_copy(update={"gpu": (lacking,)}) for p in run.points)
    alone = pd.read_csv(io.StringIO(csv_files(run.model_copy(update={"points": points}))[CLOSED]))
    assert alone["Avg GPU Power Usage"].isna().all()
    assert set(alone["Max GPU Memory Usage"]) == {f"{first}:{31 * 2**30};"}


def test_the_summary_tells_energy_and_provider_on_gpus():
    text = summary(gpu_factory.run_on_two())
    assert "- **Energy**: 1.35 J an inference on 2 GPUs, idle share 0.310 J" in text
    assert "- **Provider**: CUDAExecutionProvider (precision_mode=FP16, max_workspace" in text
    assert "- **Ran on**: GPU: 2 × NVIDIA H200 (host:" in text
    assert "(idle 0.310)" in text and "and what an idle GPU would have used" in text
    assert "Energy" not in summary(RUN) and "idle GPU" not in summary(RUN)


TOLD = [PointResult, Latency, SteadyState, LoadProcess, TimeSplit, Bottleneck, GpuFigures, GpuProbe]


@pytest.mark.parametrize("kind", [*TOLD, GpuEnvironment, Environment])
def test_every_field_of_a_point_is_explained_in_the_docs(kind):
    text = DOCS.read_text()
    known = {"id", "params", "point", "started_at"}  # as in the scenario
    unsaid = [n for n in kind.model_fields if n not in known and not re.search(rf"[`.]{n}`", text)]
    assert unsaid == []


def test_every_column_of_a_gpus_readings_is_explained_in_the_docs():
    text = DOCS.read_text()
    unsaid = [f.name for f in fields(GpuReading) if not re.search(rf"`{f.name}`", text)]
    assert unsaid == []


def test_a_result_of_version_1_is_read_with_its_old_spelling():
    old = json.loads(RUN.model_dump_json())
    for point in old["points"]:
        point["limiter"] = point.pop("bottleneck")
    read = RunResult.model_validate_json(json.dumps(old | {"schema_version": 1}))
    assert read == RUN and read.points[0].bottleneck is not None
    assert json.loads(read.model_dump_json())["schema_version"] == 2, "and written as today's"
    with pytest.raises(ValueError, match="schema_version"):
        RunResult.model_validate_json(json.dumps(old | {"schema_version": 3}))


@pytest.mark.parametrize("run", ["wires", "server-died"])
def test_a_result_that_harness_0_1_wrote_is_read(run):
    file = DOCS.parents[1] / "tests/data/runs_of_0_1" / run / "result.json"
    written = json.loads(file.read_text())
    read = RunResult.model_validate_json(file.read_text())
    assert (written["schema_version"], read.schema_version) == (1, 2)
    named = [point["limiter"] and point["limiter"]["name"] for point in written["points"]]
    assert named and [p.bottleneck.name if p.bottleneck else None for p in read.points] == named
