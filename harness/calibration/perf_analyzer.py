"""NVIDIA's perf_analyzer, the C++ load generator that harness is compared with, as a process of its own.

Its binary comes inside the wheel tritonclient 2.48.0 (`data/bin/perf_analyzer`), apart from whatever
tritonclient is installed; the wheel is unpacked into the cache. It needs the system's libb64 and a CUDA
runtime library, which the embedded Triton has. Its figures are read from the CSV that `-f` names; of its
options see NVIDIA's docs/cli.md of that version.
"""

from __future__ import annotations

import csv
import ctypes.util
import io
import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.cache import Wheel, unpacked
from harness.child_process import end_group
from harness.schema.errors import HarnessError
from harness.schema.scenario import Protocol

WHEEL = Wheel(
    "tritonclient",
    "2.48.0",
    sha256="7074885798e8a711fedaf94d6dd77f310973fe2ebf29fb2837db350a43e2d6a5",
    megabytes=14,
)

MEMORY_BYTES = 4 << 30
"""It was seen to grow past 5 GB over HTTP at concurrency 32, and must not take the machine with it."""

_UNSTABLE = re.compile(r"failed to obtain stable measurement[^\n]*", re.IGNORECASE)
_US = 1e-6


@dataclass(frozen=True, slots=True)
class Figures:
    """What it measured, from its report."""

    throughput_per_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """One run. `figures` is None where it reported none; `unstable` holds its words where it gave up."""

    figures: Figures | None
    unstable: str | None
    output: str
    cpu_s: float
    wall_s: float
    timed_out: bool

    @property
    def why(self) -> str:
        """In one line, why there are no figures."""
        if self.timed_out:
            return f"perf_analyzer did not return within {self.wall_s:.0f} s and was killed"
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return self.unstable or (
            f"perf_analyzer said: {lines[-1]}" if lines else "perf_analyzer said nothing"
        )


def problem() -> str | None:
    """Why it can't run here, with the remedy. Downloads nothing."""
    if ctypes.util.find_library("b64") is None:
        return "perf_analyzer needs the system library libb64: apt-get install libb64-0d"
    return None


class PerfAnalyzer:
    """The binary, ready to run. `cudart` is a libcudart.so.12 under any name; `folder` gets its files.

    Raises HarnessError where it can't run here.
    """

    def __init__(self, cudart: Path, folder: Path) -> None:
        if (found := problem()) is not None:
            raise HarnessError(found)
        (self.binary,) = unpacked(WHEEL).glob("*.data/data/bin/perf_analyzer")
        if not os.access(self.binary, os.X_OK):  # unpacking a wheel drops the executable bits
            self.binary.chmod(0o755)
        self._folder = folder.absolute()
        self._libraries = self._folder / "lib"
        self._libraries.mkdir(parents=True, exist_ok=True)
        link = self._libraries / "libcudart.so.12"
        link.unlink(missing_ok=True)
        link.symlink_to(cudart)

    @property
    def environment(self) -> dict[str, str]:
        """What it needs of a caller that starts it."""
        return {"LD_LIBRARY_PATH": str(self._libraries)}

    def run(
        self,
        model: str,
        protocol: Protocol,
        address: str,
        *,
        concurrency: int,
        data: Sequence[Mapping[str, Sequence[float]]],
        options: Sequence[str] = (),
        limit_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Finished:
        """One run in a closed loop against `address` (host:port), killed with its children after `limit_s`.

        `data`: the inputs of each request in turn, by name, one batch entry each. Its CPU time is its own
        account at its end, start and all. `meanwhile` is called again and again while it runs.
        """
        values = [{k: {"content": list(v), "shape": [len(v)]} for k, v in each.items()} for each in data]
        data_file = self._folder / "values.json"
        data_file.write_text(json.dumps({"data": values}))
        options = [*options, "--input-data", str(data_file)]
        for name, content in data[0].items():
            options += ["--shape", f"{name}:{len(content)}"]
        return self.asks(
            model,
            protocol,
            address,
            concurrency=concurrency,
            options=options,
            limit_s=limit_s,
            meanwhile=meanwhile,
        )

    def asks(
        self,
        model: str,
        protocol: Protocol,
        address: str,
        *,
        concurrency: int,
        options: Sequence[str],
        limit_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Finished:
        """The same, where `options` say what is sent."""
        report = self._folder / "report.csv"
        report.unlink(missing_ok=True)
        command = [str(self.binary), "-m", model, "-i", protocol, "-u", address, "-f", str(report)]
        command += ["--concurrency-range", str(concurrency)]
        output = self._folder / "output.txt"
        began = time.monotonic()
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, *options],
                env=os.environ | self.environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        cpu_s, timed_out = _waited(process, began + limit_s, meanwhile)
        said = output.read_text(errors="replace")
        unstable = _UNSTABLE.search(said)
        return Finished(
            figures=figures(report.read_text()) if report.exists() and not timed_out else None,
            unstable=unstable.group().strip() if unstable else None,
            output=said,
            cpu_s=cpu_s,
            wall_s=time.monotonic() - began,
            timed_out=timed_out,
        )


def figures(report: str) -> Figures | None:
    """From the text of its CSV: the last row's; None where there is none. HarnessError for another format."""
    rows = list(csv.DictReader(io.StringIO(report)))
    if not rows:
        return None
    row = rows[-1]
    try:
        return Figures(
            throughput_per_s=float(row["Inferences/Second"]),
            p50_s=float(row["p50 latency"]) * _US,
            p90_s=float(row["p90 latency"]) * _US,
            p95_s=float(row["p95 latency"]) * _US,
            p99_s=float(row["p99 latency"]) * _US,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(
            f"perf_analyzer's report has no {error}: it must be the version of the wheel {WHEEL.name} "
            f"{WHEEL.version}; clear harness's cache and run again"
        ) from error


def _waited(
    process: subprocess.Popen[bytes], until: float, meanwhile: Callable[[], None]
) -> tuple[float, bool]:
    """(CPU seconds, whether it had to be killed). Nothing of its process group is left, whatever happens."""
    timed_out = False
    try:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime, timed_out
            if time.monotonic() > until and not timed_out:
                timed_out = True
                os.killpg(process.pid, signal.SIGKILL)
            meanwhile()
            time.sleep(0.01)
    finally:
        end_group(process)
