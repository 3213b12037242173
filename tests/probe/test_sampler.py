"""The sampler around a real process, with and without the double for NVML."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import TypeAdapter

from harness.analysis.gpu import gpu_figures
from harness.analysis.host import host_figures
from harness.probe.sampler import Sampler
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, Window
from tests.e2e.conftest import wait_for
from tests.nvml import NvmlDouble


def burning(cpu_s: float) -> subprocess.Popen[bytes]:
    """A process that uses this much CPU time, says so, and waits."""
    code = f"import time\nwhile time.process_time() < {cpu_s}: pass\nprint(flush=True)\ntime.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def test_readings_cover_the_time_between_enter_and_exit_and_see_a_process_that_starts_later() -> None:
    clients: list[int] = []
    process = None
    before = time.monotonic_ns()
    try:
        with Sampler(list, lambda: clients, interval_s=0.05) as sampler:
            entered = time.monotonic_ns()
            process = burning(0.5)
            clients.append(process.pid)
            assert process.stdout is not None
            process.stdout.readline()
            leaving = time.monotonic_ns()
        count = len(sampler.host)
        time.sleep(0.15)
    finally:
        if process is not None:
            process.kill()
            process.communicate()
    at_ns = [reading.at_ns for reading in sampler.host]
    assert before <= at_ns[0] <= entered
    assert at_ns[-1] >= leaving
    assert at_ns == sorted(at_ns)
    assert len(sampler.host) == count, "it went on after its exit"
    assert len(at_ns) > 4
    totals = [reading.client_cpu_s for reading in sampler.host]
    assert totals[0] is None
    known = [t for t in totals if t is not None]
    assert known == sorted(known)
    assert known[-1] == pytest.approx(0.5, abs=0.03)
    assert all(reading.server_cpu_s is None for reading in sampler.host)
    assert sampler.problems == ()


def test_a_busy_process_of_a_known_share_comes_out_in_the_figures() -> None:
    # a third of a core: 10 ms of CPU time, then a pause of twice what that took
    code = (
        "import time\nprint(flush=True)\nwhile True:\n began, cpu = time.monotonic(), time.process_time()\n"
        " while time.process_time() < cpu + 0.01: pass\n time.sleep(2 * (time.monotonic() - began))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        with Sampler(lambda: [process.pid], list) as sampler:
            start = process_cpu_s(process.pid), time.monotonic_ns()
            # How long that takes depends on what else runs here.
            wait_for(lambda: process_cpu_s(process.pid) > start[0] + 0.5, limit_s=120)
            end = process_cpu_s(process.pid), time.monotonic_ns()
    finally:
        process.kill()
        process.communicate()
    window = Window(start[1], end[1])
    figures = host_figures(sampler.host, window, requests=0, cores=2)
    # against the kernel's own count at the edges
    assert figures.server_cpu_cores is not None
    assert figures.server_cpu_cores * window.seconds == pytest.approx(end[0] - start[0], abs=0.1)
    assert figures.host_busy_cores is not None
    assert figures.host_busy_cores >= figures.server_cpu_cores - 0.05


def test_what_fails_inside_is_told_once_and_the_sampling_goes_on() -> None:
    calls = 0

    def unreliable() -> list[int]:
        nonlocal calls
        calls += 1
        if 1 < calls < 5:
            raise RuntimeError("the load has no pid yet")
        return [os.getpid()]

    with Sampler(list, unreliable, interval_s=0.02) as sampler:
        while calls < 8:
            time.sleep(0.02)
    assert len(sampler.host) == calls - 3
    assert sampler.problems == ("the host could not be read: RuntimeError: the load has no pid yet",)
    assert all(reading.client_cpu_s is not None for reading in sampler.host)


def test_an_error_in_what_is_measured_passes_through_and_ends_the_sampling() -> None:
    sampler = Sampler(list, list, interval_s=0.01)
    with pytest.raises(ZeroDivisionError), sampler:
        raise ZeroDivisionError
    count = len(sampler.host)
    assert count >= 2
    time.sleep(0.05)
    assert len(sampler.host) == count


def test_it_says_what_it_costs() -> None:
    began_s = time.process_time()
    with Sampler(lambda: [os.getpid()], lambda: [os.getppid()], interval_s=0.2) as sampler:
        time.sleep(1.5)
    all_of_us_s = time.process_time() - began_s
    # Nothing else runs in this process; how much it is depends on the machine.
    assert sampler.cpu_cores > 0
    # It counts from its first look to its last: what ends it may take its time on a busy machine.
    looked_s = (sampler.host[-1].at_ns - sampler.host[0].at_ns) / 1e9
    assert sampler.cpu_cores * looked_s == pytest.approx(all_of_us_s, abs=0.03, rel=0.4)


SAMPLED = """
import dataclasses, json, os, signal, sys, time
import psutil
from harness.probe.sampler import Sampler
from harness.probe.reader.spool import Spool

def reader():
    # the process that reads the GPUs, and how nice it is; one of no use may end as it is looked at
    for child in psutil.Process().children():
        try:
            if "harness.probe.reader.reader" in child.cmdline():
                return child, child.nice()
        except psutil.NoSuchProcess:
            pass
    return None

what = json.loads(sys.argv[1])
out = {}
with Sampler(lambda: what.get("server", [os.getpid()]), list, interval_s=0.05) as sampler:
    out["entered_ns"] = time.monotonic_ns()
    found = reader()
    out["nice"] = found and found[1]
    if what.get("idle"):
        out["idle_ns"] = sampler.idle()
        out["idled_ns"] = time.monotonic_ns()
    time.sleep(what.get("for_s", 0.5))
    if "signal" in what:
        found[0].send_signal(what["signal"])
        time.sleep(what["then_s"])
    out["leaving_ns"] = time.monotonic_ns()
out["left_ns"] = time.monotonic_ns()
out["children"] = [p.pid for p in psutil.Process().children()]
out |= {
    "gpu": [dataclasses.asdict(r) for r in sampler.gpu],
    "gpus": [g.model_dump() for g in sampler.gpus],
    "host": len(sampler.host),
    "no_gpu": sampler.no_gpu,
    "probe": sampler.gpu_probe and sampler.gpu_probe.model_dump(),
    "problems": sampler.problems,
}
print(json.dumps(out))
"""


def sampled(environment: dict[str, str], **what: Any) -> Any:
    """What a sampler in a process of its own gives."""
    done = subprocess.run(
        [sys.executable, "-c", SAMPLED, json.dumps(what)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def readings_of(out: Any) -> list[GpuReading]:
    return [TypeAdapter(GpuReading).validate_python(r) for r in out["gpu"]]


def test_gpu_energy_over_a_window_is_power_times_time_through_every_layer(nvml_double: NvmlDouble) -> None:
    out = sampled(nvml_double("gpus=2 power_w=400"), for_s=1)
    readings = readings_of(out)
    devices = [GpuEnvironment(**g) for g in out["gpus"]]
    window = Window(out["entered_ns"], out["leaving_ns"])
    first, second = gpu_figures(readings, devices, window, inferences=100) or ()
    assert first.energy_j == pytest.approx(400 * window.seconds, rel=0.02)
    assert second.energy_j == pytest.approx(300 * window.seconds, rel=0.02)
    assert first.energy_j_per_inference == pytest.approx(4 * window.seconds, rel=0.02)
    assert first.power_w_mean == pytest.approx(400, rel=0.02)
    assert (out["no_gpu"], out["problems"]) == (None, [])


@pytest.mark.alone
def test_gpus_are_read_20_times_a_second_by_a_process_of_its_own(nvml_double: NvmlDouble) -> None:
    out = sampled(nvml_double("gpus=2"), for_s=2)
    assert out["nice"] == 10
    assert out["children"] == [], "the reader outlived its sampler"
    for device in (0, 1):
        at_ns = [r.at_ns for r in readings_of(out) if r.device == device]
        assert at_ns == sorted(at_ns)
        assert at_ns[0] < out["entered_ns"] and at_ns[-1] > out["leaving_ns"]
        # late readings are not made up for, so a busy machine gives fewer, and no machine gives more
        assert len(at_ns) <= 3 * 20 + 4
        assert min(np.diff(at_ns)) / 1e9 == pytest.approx(0.05, abs=0.01), "those that came in time"
        assert [r.at_ns for r in readings_of(out) if r.energy_j is not None][-1] > out["leaving_ns"]
    probe = out["probe"]
    assert probe["source"] == "nvml"
    assert probe["readings"] == len(out["gpu"])
    assert probe["interval_s"] >= 0.05, "longer on a busy machine, as above"
    assert 0 < probe["cpu_cores"] < 0.2
    assert out["left_ns"] - out["leaving_ns"] < 1.5e9


def test_where_there_is_no_driver_no_process_is_started() -> None:
    out = sampled({}, idle=True, for_s=0.1)
    if out["no_gpu"] is None:
        pytest.skip("this machine has a GPU")
    assert out["no_gpu"] == "no NVIDIA driver: its library libnvidia-ml.so.1 was not found"
    assert (out["nice"], out["gpu"], out["problems"]) == (None, [], [])
    assert out["idle_ns"] is None
    assert out["idled_ns"] - out["entered_ns"] < 1e9, "there was nothing to wait for"


@pytest.mark.gpu
def test_a_real_gpu_is_read_20_times_a_second_for_a_hundredth_of_a_core() -> None:
    out = sampled({}, idle=True, for_s=5)
    readings = [r for r in readings_of(out) if r.device == 0 and r.mig_instance is None]
    assert out["problems"] == []
    assert len(readings) > 100
    assert out["probe"]["interval_s"] < 0.06
    assert out["probe"]["cpu_cores"] < 0.01
    counted = [r.at_ns for r in readings if r.energy_j is not None]
    assert counted[0] < out["entered_ns"] and counted[-1] > out["leaving_ns"]
    begin, end = out["idle_ns"]
    assert (end - begin) / 1e9 < 3, "an idle GPU was seen to work"


@pytest.mark.parametrize(("script", "says"), [("init=9", "module is not loaded"), ("gpus=0", "lists no GPU")])
def test_a_driver_that_is_there_and_of_no_use_has_its_reason(
    nvml_double: NvmlDouble, script: str, says: str
) -> None:
    out = sampled(nvml_double(script), idle=True, for_s=0.1)
    assert says in out["no_gpu"]
    assert (out["gpu"], out["gpus"], out["idle_ns"], out["probe"]) == ([], [], None, None)
    assert [says in problem for problem in out["problems"]] == ([True] if script == "init=9" else [])


@pytest.mark.parametrize(
    ("utilization", "at_least_s", "at_most_s"), [("0.75", 4, 5.5), ("None", 1.5, 3)], ids=["working", "idle"]
)
def test_the_load_waits_until_the_gpus_have_been_idle_for_a_second_and_a_half_or_never_are(
    nvml_double: NvmlDouble, utilization: str, at_least_s: float, at_most_s: float
) -> None:
    unsupported = "unsupported=nvmlDeviceGetUtilizationRates" if utilization == "None" else ""
    out = sampled(nvml_double(f"power_w=250 {unsupported}"), idle=True, for_s=0.2)
    begin, end = out["idle_ns"]
    assert (at_least_s - 0.01) * 1e9 <= end - begin < at_most_s * 1e9
    assert begin <= out["entered_ns"] and end <= out["idled_ns"]
    readings = readings_of(out)
    assert readings[0].at_ns <= begin and readings[0].energy_j is not None
    inside = [r for r in readings if begin <= r.at_ns <= end and r.energy_j is not None]
    assert len(inside) > 5


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (signal.SIGKILL, "the GPU probe was killed by SIGKILL: "),
        (signal.SIGSTOP, "the GPU probe hung, so it was ended: "),
        (signal.SIGALRM, "the GPU probe hung in the driver, so it ended itself: "),
    ],
)
def test_a_probe_that_dies_or_hangs_costs_its_readings_from_then_on(
    nvml_double: NvmlDouble, sent: signal.Signals, says: str
) -> None:
    out = sampled(nvml_double("gpus=2"), signal=int(sent), for_s=0.6, then_s=1.0)
    readings = readings_of(out)
    last_s = (out["leaving_ns"] - readings[-1].at_ns) / 1e9
    assert len(readings) > 10
    assert 0.9 < last_s < 2
    (problem,) = out["problems"]
    assert problem.startswith(says) and "readings end 1." in problem
    assert out["left_ns"] - out["leaving_ns"] < 4e9, "it held up the run"
    assert out["children"] == []
    assert out["host"] > 10
    assert out["probe"]["readings"] == len(readings) and out["probe"]["cpu_cores"] is not None
    assert len(out["gpus"]) == 2


def test_a_gpu_that_is_lost_is_told_of_and_the_others_go_on(nvml_double: NvmlDouble) -> None:
    out = sampled(nvml_double("gpus=2 lost=1@60"), for_s=1)  # calls: some ten looks
    (problem,) = out["problems"]
    assert problem.startswith("GPU 1 was lost")
    at_ns = {d: [r.at_ns for r in readings_of(out) if r.device == d] for d in (0, 1)}
    assert at_ns[1][-1] < out["leaving_ns"] < at_ns[0][-1]


def test_what_can_not_be_read_is_learnt_while_reading(nvml_double: NvmlDouble) -> None:
    out = sampled(nvml_double("unsupported=nvmlDeviceGetTotalEnergyConsumption"), for_s=0.3)
    (device,) = out["gpus"]
    assert "Not Supported" in device["unsupported"]["energy_j"]
    assert {r.energy_j for r in readings_of(out)} == {None}


def test_a_foreign_process_is_judged_by_all_that_was_seen(nvml_double: NvmlDouble) -> None:
    with burning(0) as stranger:
        out = sampled(nvml_double(f"processes={stranger.pid}"), for_s=0.3)
        theirs = sampled(nvml_double(f"processes={stranger.pid}"), for_s=0.3, server=[stranger.pid])
        stranger.kill()
    listed = [r for r in readings_of(out) if r.processes is not None]
    assert listed
    name = listed[0].foreign_processes
    assert name is not None and name[0].endswith(f" ({stranger.pid})")
    assert {r.foreign_processes for r in listed} == {name}
    own = [r for r in readings_of(theirs) if r.processes is not None]
    assert own and {r.foreign_processes for r in own} == {()}


def process_cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
