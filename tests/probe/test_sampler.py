"""The sampler around a real process, with and without the double for NVML."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from harness.analysis.observation import gpu_figures, host_figures
from harness.probe.sampler import Sampler
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading, Window
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
            time.sleep(2)
            end = process_cpu_s(process.pid), time.monotonic_ns()
    finally:
        process.kill()
        process.communicate()
    window = Window(start[1], end[1])
    figures = host_figures(sampler.host, window, requests=0, cores=2)
    # against the kernel's own count at the edges, because the share depends on what else runs here
    assert figures.server_cpu_cores == pytest.approx((end[0] - start[0]) / window.seconds, abs=0.05)
    assert figures.server_cpu_cores is not None and 0.05 < figures.server_cpu_cores < 0.5
    assert figures.host_busy_cores is not None
    assert figures.host_busy_cores >= figures.server_cpu_cores - 0.05


def test_what_fails_inside_is_told_once_and_the_sampling_goes_on() -> None:
    calls = 0

    def unreliable() -> list[int]:
        nonlocal calls
        calls += 1
        if 1 < calls < 5:
            raise RuntimeError("the server has no pid yet")
        return [os.getpid()]

    with Sampler(unreliable, list, interval_s=0.02) as sampler:
        while calls < 8:
            time.sleep(0.02)
    assert len(sampler.host) == calls - 3
    assert sampler.problems == ("the host could not be read: RuntimeError: the server has no pid yet",)
    assert all(reading.server_cpu_s is not None for reading in sampler.host)


def test_an_error_in_what_is_measured_passes_through_and_ends_the_sampling() -> None:
    sampler = Sampler(list, list, interval_s=0.01)
    with pytest.raises(ZeroDivisionError), sampler:
        raise ZeroDivisionError
    count = len(sampler.host)
    assert count >= 2
    time.sleep(0.05)
    assert len(sampler.host) == count


def test_it_says_what_it_costs() -> None:
    began = time.process_time(), time.monotonic()
    with Sampler(lambda: [os.getpid()], lambda: [os.getppid()], interval_s=0.2) as sampler:
        time.sleep(1.5)
    all_of_us = (time.process_time() - began[0]) / (time.monotonic() - began[1])
    # Nothing else runs in this process; how much it is depends on the machine.
    assert sampler.cpu_cores > 0
    assert sampler.cpu_cores == pytest.approx(all_of_us, abs=0.02)


SAMPLED = """
import dataclasses, json, time
from harness.probe.sampler import Sampler
with Sampler(list, list, interval_s=0.05) as sampler:
    time.sleep(0.5)
print(json.dumps({
    "gpu": [dataclasses.asdict(r) for r in sampler.gpu],
    "gpus": [g.model_dump() for g in sampler.gpus],
    "no_gpu": sampler.no_gpu,
    "problems": sampler.problems,
}))
"""


def test_gpu_energy_over_a_window_is_power_times_time_through_every_layer(nvml_double: NvmlDouble) -> None:
    environment = os.environ | nvml_double("gpus=3 power_w=400 lost=2@30")
    done = subprocess.run(
        [sys.executable, "-c", SAMPLED], env=environment, capture_output=True, text=True, check=True
    )
    out = json.loads(done.stdout)
    readings = [
        GpuReading(**r | {"throttle_reasons": r["throttle_reasons"] and tuple(r["throttle_reasons"])})
        for r in out["gpu"]
    ]
    devices = [GpuEnvironment(**g) for g in out["gpus"]]
    times = sorted(r.at_ns for r in readings)
    window = Window(times[0] + 10_000_000, times[-1] - 10_000_000)
    first, second, lost = gpu_figures(readings, devices, window, inferences=100) or ()
    assert first.energy_j == pytest.approx(400 * window.seconds, rel=0.02)
    assert second.energy_j == pytest.approx(300 * window.seconds, rel=0.02)
    assert first.energy_j_per_inference == pytest.approx(4 * window.seconds, rel=0.02)
    assert first.power_w_mean == pytest.approx(400, rel=0.02)
    assert lost.energy_j is None
    assert out["no_gpu"] is None
    (problem,) = out["problems"]
    assert problem.startswith("GPU 2 was lost")


def process_cpu_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_a_driver_that_is_there_and_fails_is_a_problem_and_none_at_all_is_not(
    nvml_double: NvmlDouble,
) -> None:
    for script, problems in (("init=9", 1), (None, 0)):
        environment = os.environ | (nvml_double(script) if script else {})
        done = subprocess.run(
            [sys.executable, "-c", SAMPLED], env=environment, capture_output=True, text=True, check=True
        )
        out = json.loads(done.stdout)
        if script is None and out["no_gpu"] is None:
            pytest.skip("this machine has a GPU")
        assert "driver" in out["no_gpu"]
        assert (out["gpu"], len(out["problems"])) == ([], problems)
