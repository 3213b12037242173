"""GPUs through the real command line, over the double for NVML: here, elsewhere, and lost on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.probe.reader.spool import Spool
from tests import nvml
from tests.e2e.conftest import (
    AS_TINY,
    ONE,
    TINY,
    Workplace,
    ended,
    running,
    served,
    under_load,
    valid,
    wait_for,
)
from tests.e2e.test_command_line import in_process
from tests.nvml import NvmlDouble

TWO_SECONDS = TINY.replace("[4, 8]", "8")
"""A single point, long enough to lose something meanwhile, and to tell what other processes use."""
IDLE = "unsupported=nvmlDeviceGetUtilizationRates"
"""The double always works, which the load waits out: a GPU that doesn't tell is taken for one at rest."""


def reader_of(pid: int) -> psutil.Process | None:
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return None
    return next((c for c in children if "harness.probe.reader.reader" in c.cmdline()), None)


def point_of(workplace: Workplace, document: Any) -> tuple[Any, Any]:
    """The only point of a run: its result, and what was observed."""
    (point,) = document["points"]
    observed = workplace.runs[-1] / point["samples"] / "observed.json"
    return point, json.loads(observed.read_text())


@contextmanager
def probing(workplace: Workplace, pid: int, double: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`harness probe --serve` in a process of its own: its address and process id."""
    with running(workplace, "probe", "--serve", "0", "--pid", str(pid), **double) as process:
        assert process.stderr is not None
        ready = re.search(r"ready at (\S+):", process.stderr.readline())
        assert ready is not None
        yield ready[1], process.pid


@pytest.mark.triton
def test_a_run_on_two_gpus_has_their_figures_an_idle_window_and_the_probes_cost(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    workplace.env |= nvml_double("gpus=2 power_w=400")
    document = valid(workplace.run("run", workplace.scenario(TWO_SECONDS), "--json"))
    point, observed = point_of(workplace, document)
    first, second = point["gpu"]
    seconds = point["duration_s"]
    assert (first["device"], second["device"]) == (0, 1)
    assert first["energy_j"] == pytest.approx(400 * seconds, rel=0.05)
    assert second["energy_j"] == pytest.approx(300 * seconds, rel=0.05)
    # the double always works at 75%
    assert first["idle_power_w"] is None and "not idle" in first["unsupported"]["idle_power_w"]
    assert first["foreign_processes"] == []
    begin, end = observed["idle_ns"]
    assert end - begin >= 1.5e9
    assert end <= observed["window_ns"][0]
    probe = point["gpu_probe"]
    assert (probe["source"], probe["cpu_cores"] is not None) == ("nvml", True)
    assert 0.05 <= probe["interval_s"] < 1
    assert [gpu["name"] for gpu in document["environment"]["gpus"]] == [nvml.NAME] * 2
    assert not list(workplace.path.glob("results/*/points/*/gpu.jsonl")), "it is in gpu.parquet now"


@pytest.mark.triton
def test_a_probe_that_is_killed_under_load_costs_no_more_than_its_readings(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    workplace.env |= nvml_double(IDLE)
    process = workplace.start("run", workplace.scenario(TWO_SECONDS), "--json")
    under_load(workplace, process)
    reader = wait_for(lambda: reader_of(process.pid))
    reader.kill()
    done = ended(process)
    point, observed = point_of(workplace, valid(done))
    assert point["requests"] > 100
    assert point["gpu"][0]["energy_j"] is None and observed["idle_ns"] is not None
    assert any("killed by SIGKILL: its readings end" in problem for problem in observed["problems"])
    assert any("killed by SIGKILL" in note for note in point["notes"])


@pytest.mark.triton
def test_what_was_read_until_the_harness_was_killed_is_there(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    workplace.env |= nvml_double(IDLE)
    process = workplace.start("run", workplace.scenario(TWO_SECONDS))
    folder = under_load(workplace, process, records=150)
    reader = wait_for(lambda: reader_of(process.pid))
    process.kill()
    killed_ns = time.monotonic_ns()
    process.communicate()
    psutil.wait_procs([reader], timeout=10)
    spool = Spool.read(folder / "gpu.jsonl")
    assert spool.ended, "it saw that the harness was gone"
    assert killed_ns - 0.5e9 < spool.gpu[-1].at_ns < killed_ns + 5e9
    assert len(spool.gpu) > 20


@pytest.fixture(scope="module")
def elsewhere(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], int]]:
    """A Triton that a run is given by its address: its addresses, and its process id."""
    workplace = Workplace(tmp_path_factory.mktemp("elsewhere"))
    shutil.copy(tiny_model, workplace.path / "double.onnx")
    with served(workplace, "double.onnx", *AS_TINY) as there:
        yield there


@pytest.mark.triton
def test_a_server_elsewhere_is_seen_through_a_probe_beside_it(
    workplace: Workplace, nvml_double: NvmlDouble, elsewhere: tuple[dict[str, str], int]
) -> None:
    at, pid = elsewhere
    double = nvml_double(f"gpus=2 power_w=500 {IDLE}")
    with probing(workplace, pid, double) as (address, probe_pid):
        options = ("--url", at["http"], "--probe", address, "--json")
        done = workplace.run("run", workplace.scenario(TWO_SECONDS), *options)
        point, observed = point_of(workplace, valid(done))
        assert observed["problems"] == []
        first, second = point["gpu"]
        assert first["energy_j"] == pytest.approx(500 * point["duration_s"], rel=0.05)
        assert second["energy_j"] == pytest.approx(400 * point["duration_s"], rel=0.05)
        assert point["gpu_probe"]["source"] == "remote probe"
        assert [gpu["name"] for gpu in done.document["environment"]["gpus"]] == [nvml.NAME] * 2
        assert point["host"]["server_cpu_cores"] > 0 and point["host"]["server_memory_bytes"] > 2**20
        assert point["host"]["foreign_cpu_cores"] is not None
        # once more, and this time it dies under load
        longer = TWO_SECONDS.replace("duration_s: 2", "duration_s: 3")
        process = workplace.start("run", workplace.scenario(longer), *options)
        wait_for(lambda: len(workplace.runs) == 2)
        under_load(workplace, process)
        time.sleep(0.5)
        os.kill(probe_pid, signal.SIGKILL)
        done = ended(process)
    point, observed = point_of(workplace, valid(done))
    assert point["requests"] > 100
    assert any("stopped answering" in problem for problem in observed["problems"])


@pytest.mark.triton
def test_a_tritons_own_metrics_are_read_where_no_probe_is(
    workplace: Workplace, elsewhere: tuple[dict[str, str], int]
) -> None:
    at, _ = elsewhere
    done = workplace.run(
        "run", workplace.scenario(ONE), "--url", at["http"], "--metrics-url", at["metrics"], "--json"
    )
    point, observed = point_of(workplace, valid(done))
    assert (point["gpu"], point["gpu_probe"], observed["gpus"]) == (None, None, [])
    assert "lists no GPU" in observed["no_gpu"]
    assert observed["problems"] == []


def test_a_look_at_the_gpus(workplace: Workplace, nvml_double: NvmlDouble) -> None:
    workplace.env |= nvml_double("gpus=2 unsupported=nvmlDeviceGetVbiosVersion")
    seen = workplace.run("probe", "--json").document
    assert [device["name"] for device in seen["devices"]] == [nvml.NAME] * 2
    assert [reading["power_w"] for reading in seen["readings"]] == [nvml.POWER_W, nvml.POWER_W - 100]
    assert all(reading["memory_bytes"] and reading["sm_activity"] for reading in seen["readings"])
    done = workplace.run("probe")
    assert done.code == 0
    assert "GPU 1" in done.stdout and "300 W" in done.stdout
    assert re.search(r"vbios +– .*Not Supported", done.stdout)


def test_a_look_where_there_is_no_gpu(workplace: Workplace, nvml_double: NvmlDouble) -> None:
    workplace.env |= nvml_double("init=9")
    done = workplace.run("probe")
    assert done.code == 0
    assert "kernel module is not loaded" in " ".join(done.stdout.split())
    assert workplace.run("probe", "--json").document["devices"] == []
    done = workplace.run("probe", "--record", "gpu.txt")
    assert done.code == 4 and done.stderr.startswith("harness: there is nothing to record")


def test_a_recording_is_played_back_by_the_double(workplace: Workplace, nvml_double: NvmlDouble) -> None:
    workplace.env |= nvml_double("power_w=321")
    done = workplace.run("probe", "--record", "gpu.txt", "--for-s", "0.5")
    assert done.code == 0, done.stderr
    assert (workplace.path / "gpu.txt").stat().st_size > 1000
    workplace.env |= nvml_double(f"replay={workplace.path / 'gpu.txt'}")
    (reading,) = workplace.run("probe", "--json").document["readings"]
    assert reading["power_w"] == 321


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["probe", "--record", "a", "--serve", "0"], "give one of them"),
        (["probe", "--pid", "1"], "give --serve too"),
        (["probe", "--for-s", "1"], "give one of them too"),
        (["probe", "--serve", "0", "--json"], "leave it out"),
        (["probe", "--serve", "here"], "give it as port or host:port"),
        (["probe", "--serve", "70000"], "give it as port or host:port"),
        (["probe", "--serve", "192.0.2.1:9400"], "give --serve another address"),
        (["run", "scenario.yaml", "--probe", "a:1"], "give its --url too"),
        (
            ["run", "scenario.yaml", "--url", "http://127.0.0.1:9", "--probe", "127.0.0.1:9"],
            "no probe answers",
        ),
        (
            ["run", "scenario.yaml", "--url", "http://a", "--probe", "a:1", "--metrics-url", "http://a"],
            "leave out",
        ),
        (["run", "scenario.yaml", "--url", "http://a", "--metrics-url", "a:8002"], "give it as http://"),
    ],
)
def test_a_refusal_names_the_remedy(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    workplace.scenario(ONE)
    monkeypatch.chdir(workplace.path)
    code, _, err = in_process(monkeypatch, *arguments)
    assert code == (4 if says in ("no probe answers", "give --serve another address") else 2)
    assert err.startswith("harness: ") and says in err
    assert "Traceback" not in err
    assert not Path(workplace.path / "results").exists()


def test_who_can_reach_a_probe_is_said(workplace: Workplace) -> None:
    done = workplace.run("probe", "--serve", "0.0.0.0:0", "--for-s", "0")
    assert done.code == 0
    assert "it asks for no password" in done.stderr
    assert "no password" not in workplace.run("probe", "--serve", "0", "--for-s", "0").stderr
