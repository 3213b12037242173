"""The double for NVML: a library in the driver's place, below pynvml, that answers with known numbers.

pynvml opens `libnvidia-ml.so.1` by that name, so the dynamic linker finds the double through
LD_LIBRARY_PATH. The linker reads that variable once, when a process starts: only a new process can be given
the double. `probe/nvml_double/nvml_double.c` says what `NVML_DOUBLE` can script.

In a test:

    def test_it(nvml_double: NvmlDouble) -> None:
        subprocess.run([...], env=os.environ | nvml_double("gpus=2 lost=1@20"))

where a conftest.py has `from tests.nvml import nvml_double`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

NvmlDouble = Callable[..., dict[str, str]]
"""From a script to the environment variables that a process needs to meet the double."""

SOURCE = Path(__file__).parent / "probe" / "nvml_double" / "nvml_double.c"

GIB = 2**30
NAME = "NVIDIA Double 80GB"
DRIVER = "999.42"
CUDA_DRIVER = "13.1"
POWER_W = 300.0
"""Of GPU 0, and the slope of its energy counter; each further GPU draws 100 W less."""
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


@pytest.fixture(scope="session")
def nvml_double(tmp_path_factory: pytest.TempPathFactory) -> NvmlDouble:
    """Builds the double once. Without a C compiler the test is skipped, or fails where CI is true."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        reason = "the double for NVML needs a C compiler: install gcc"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("nvml_double")
    library = folder / "libnvidia-ml.so.1"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE)], check=True)

    def environment(script: str = "") -> dict[str, str]:
        others = os.environ.get("LD_LIBRARY_PATH")
        path = f"{folder}:{others}" if others else str(folder)
        return {"LD_LIBRARY_PATH": path, "NVML_DOUBLE": script}

    return environment
