"""The double for NVML: a library in the driver's place, below pynvml, that answers with known numbers.

pynvml opens `libnvidia-ml.so.1` by that name, so the dynamic linker finds the double through
LD_LIBRARY_PATH. The linker reads that variable once, when a process starts: only a new process can be given
the double. `probe/nvml_double/nvml_double.c` says what `NVML_DOUBLE` can script.

In a test:

    def test_it(nvml_double: NvmlDouble) -> None:
        subprocess.run([...], env=os.environ | nvml_double("gpus=2 lost=1@500ms"))
        observe(nvml_double("mig=2"))

where a conftest.py has `from tests.nvml import nvml_double`.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.shared_library import built

NvmlDouble = Callable[..., dict[str, str]]
"""From a script to the environment variables that a process needs to meet the double."""

SOURCES = sorted((Path(__file__).parent / "probe" / "nvml_double").glob("*.c"))

GIB = 2**30
MIB = 2**20
NAME = "NVIDIA Double 80GB"
DRIVER = "999.42"
CUDA_DRIVER = "13.1"
POWER_W = 300.0
"""Of GPU 0, and the slope of its energy counter; each further GPU draws 100 W less."""
MEAN_POWER_W = POWER_W + 5
"""What nvmlDeviceGetPowerUsage answers."""
POWER_LIMIT_W = 700.0
UTILIZATION = 0.75
MEMORY_TOTAL_BYTES = 80 * GIB
MEMORY_USED_BYTES = 10 * GIB
"""Of GPU 0; each further GPU uses 1 GiB more."""
TEMPERATURE_C = 60.0
"""Of GPU 0; each further GPU is 1 degree warmer."""
SM_CLOCK_HZ = 1.5e9
MEMORY_CLOCK_HZ = 2.6e9
THROTTLE_REASONS = ("sw_power_cap",)
ECC_ERRORS = 2
PROCESS_MEMORY_BYTES = GIB
ACTIVITY = {
    "sm_activity": 0.625,
    "sm_occupancy": 0.25,
    "tensor_activity": 0.125,
    "dram_activity": 0.375,
    "pcie_tx_bytes_per_s": 100.0 * MIB,
    "pcie_rx_bytes_per_s": 200.5 * MIB,
}
MIG_NAME = "NVIDIA Double 80GB MIG 1g.10gb"
MIG_MEMORY_TOTAL_BYTES = 10 * GIB
MIG_INSTANCES = (0, 2, 3, 5, 6)
"""Their indices: not without gaps."""
MIG_MEMORY_USED_BYTES = (GIB, 3 * GIB, 4 * GIB, 6 * GIB, 7 * GIB)
MIG_SM_ACTIVITY = (0.23, 0.25, 0.26, 0.28, 0.29)

_OBSERVER = """
import dataclasses, json, os, sys
from pathlib import Path
from harness.probe import gpus as gpu
from harness.probe.nvidia.nvml_gpus import NvmlGpus

asked = json.loads(sys.argv[1])
now_ns = 0

def observed(script, record):
    def at(ns):
        global now_ns
        now_ns = ns
        os.environ["NVML_DOUBLE"] = f"{script} now_ns={ns}"

    at(10**12)
    out = {"availability": gpu.availability(), "rounds": []}
    out["accelerators"] = [dataclasses.asdict(a) for a in gpu.accelerators()]
    with NvmlGpus(record=record and Path(record), clock=lambda: now_ns, cpu_clock=lambda: 0) as gpus:
        out["devices_at_start"] = [d.model_dump() for d in gpus.devices]
        for _ in range(asked["rounds"]):
            at(now_ns + asked["step_ns"])
            out["rounds"].append([dataclasses.asdict(r) for r in gpus.read()])
        if asked["last"]:
            at(now_ns + 10_000_000)
            out["last"] = [dataclasses.asdict(r) for r in gpus.read(everything=True)]
    out["devices"] = [d.model_dump() for d in gpus.devices]
    out["unavailable"] = gpus.unavailable
    out["problems"] = gpus.problems
    out["unsupported"] = [[*key, reasons] for key, reasons in gpu.unsupported(gpus.devices).items()]
    out["library"] = [l.split()[-1] for l in open("/proc/self/maps") if "libnvidia-ml" in l][:1]
    return out

print(json.dumps([observed(script, record) for script, record in asked["scripts"]]))
"""


@pytest.fixture(scope="session")
def nvml_double(tmp_path_factory: pytest.TempPathFactory) -> NvmlDouble:
    """The double, built once."""
    folder = built(SOURCES, "libnvidia-ml.so.1", tmp_path_factory.mktemp("nvml_double")).parent

    def environment(script: str = "") -> dict[str, str]:
        others = os.environ.get("LD_LIBRARY_PATH")
        path = f"{folder}:{others}" if others else str(folder)
        return {"LD_LIBRARY_PATH": path, "NVML_DOUBLE": script}

    return environment


def observe(
    environment: dict[str, str], rounds: int = 2, record: Path | None = None, last: bool = False
) -> Any:
    """What `NvmlGpus` gives in a process with this environment: the readings of `rounds` looks, what GPUs
    there are, and why values are null. The looks are 50 ms apart by a set clock, as if they cost nothing, so
    that it is the same each time. With `last`, 10 ms later there is one of everything."""
    records = () if record is None else (record,)
    return observe_each(environment, [environment.get("NVML_DOUBLE", "")], rounds, records, last)[0]


def observe_each(
    environment: dict[str, str],
    scripts: Sequence[str],
    rounds: int = 2,
    records: Sequence[Path] = (),
    last: bool = False,
) -> list[Any]:
    """The same for each of `scripts`, in one process; recorded, if there are `records`, to these files."""
    with_records = list(itertools.zip_longest(scripts, map(str, records)))
    asked = {"scripts": with_records, "rounds": rounds, "step_ns": 50_000_000, "last": last}
    found: list[Any] = printed_by(_OBSERVER, environment, json.dumps(asked))
    return found


def printed_by(code: str, environment: dict[str, str], *arguments: str) -> Any:
    """The JSON that Python `code` prints in a process with this environment."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
