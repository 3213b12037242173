"""The process that reads the GPUs: how it ends, whatever becomes of the driver and of who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from harness.probe.reader.spool import Spool
from tests.nvml import NvmlDouble

HANGING = """
import sys, time
from harness.probe.reader import reader

class Hanging(reader.Gpus):
    def read(self, *, everything=False):
        time.sleep(60)

reader.Gpus, reader.HUNG_S = Hanging, 1
sys.argv = ["reader"]
reader.main()
"""


def test_a_reader_that_hangs_in_the_driver_ends_by_itself(nvml_double: NvmlDouble) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING],
        env=os.environ | nvml_double(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 10


COUNTING_SELDOM = """
import dataclasses, sys, time
from harness.probe.reader import reader

class Seldom(reader.Gpus):
    due = 0
    def read(self, *, everything=False):
        readings = super().read(everything=everything)
        if time.monotonic() < self.due:
            return tuple(dataclasses.replace(r, energy_j=None) for r in readings)
        if any(r.energy_j is not None for r in readings):
            self.due = time.monotonic() + 0.5
        return readings

reader.Gpus = Seldom
sys.argv = ["reader"]
reader.main()
"""


def test_the_end_waits_for_a_last_value_of_the_energy_counter(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.jsonl"
    with path.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTING_SELDOM],
            env=os.environ | nvml_double(),
            stdin=subprocess.PIPE,
            stdout=out,
        )
    assert process.stdin is not None
    while len([r for r in Spool.read(path).gpu if r.energy_j is not None]) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    ended_ns = time.monotonic_ns()
    process.stdin.close()
    assert process.wait(10) == 0
    spool = Spool.read(path)
    assert spool.ended
    last_ns = [r.at_ns for r in spool.gpu if r.energy_j is not None][-1]
    assert ended_ns < last_ns < ended_ns + 1.5e9


def test_the_last_look_has_the_slow_values_too(nvml_double: NvmlDouble, tmp_path: Path) -> None:
    """Memory errors are read once a second: those of the last second count as well."""
    path = tmp_path / "gpu.jsonl"
    with path.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.probe.reader.reader"],
            env=os.environ | nvml_double(),
            stdin=subprocess.PIPE,
            stdout=out,
        )
    assert process.stdin is not None
    while len(Spool.read(path).gpu) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    ended_ns = time.monotonic_ns()
    process.stdin.close()
    assert process.wait(10) == 0
    last = Spool.read(path).gpu[-1]
    assert last.at_ns > ended_ns
    assert None not in (last.energy_j, last.ecc_errors, last.memory_bytes, last.processes)


HARNESS = """
import pathlib, sys, time
from harness.probe.watch.local_watch import local_watch
watch = local_watch(pathlib.Path(sys.argv[1]))
watch.start()
print(flush=True)
time.sleep(60)
"""


def test_a_reader_ends_with_the_harness_that_was_killed_and_leaves_its_readings(
    nvml_double: NvmlDouble, tmp_path: Path
) -> None:
    spool = tmp_path / "gpu.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(spool)], env=os.environ | nvml_double(), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    (reader,) = psutil.Process(process.pid).children()
    time.sleep(0.4)
    process.kill()
    killed_ns = time.monotonic_ns()
    process.communicate()
    psutil.wait_procs([reader], timeout=5)
    assert not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE
    found = Spool.read(spool)
    assert found.ended
    assert len(found.gpu) > 4
    assert found.gpu[-1].at_ns > killed_ns, "it has a last reading"
