"""Millions of requests that nobody sent, as load processes would have left them; and all that a run does with
them afterwards, in a process of its own whose memory can be told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.schema.point import Point
from harness.schema.samples import REQUEST, HostReading, Phase, Status, Window

WORKERS = 2
RATE_PER_S = 20_000.0
WARMUP = 0.02
"""Requests of the warm-up, as a share of the measured ones."""
CHUNK = 1 << 18
AT_ONCE = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
"""An array that is freed is given back at once, so that a peak is what was in use and nothing else.
Allocators keep what they may need again, from 50 to 190 MB, and are faster by a third."""
START_NS = 5_000_000_000_000


def write_spools(folder: Path, requests: int, *, seed: int = 1) -> Window:
    """Spools of `WORKERS` load processes with `requests` measured ones together; the window.

    Poisson arrivals in the order in which they were answered; latencies that are correlated in time, and
    three times as long at first. One in ten thousand fails.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    end_ns = 0
    for worker in range(WORKERS):
        (folder / f"requests-{worker}.reasons").write_text(json.dumps(f"refused by {worker}") + "\n")
        with (folder / f"requests-{worker}.spool").open("wb") as spool:
            due_ns = START_NS
            for phase, count in ((Phase.WARMUP, int(requests * WARMUP)), (Phase.MEASURE, requests)):
                began_ns = due_ns
                for first in range(0, count // WORKERS, CHUNK):
                    n = min(CHUNK, count // WORKERS - first)
                    records = np.zeros(n, dtype=REQUEST)
                    gaps_ns = random.exponential(1e9 * WORKERS / RATE_PER_S, n)
                    records["intended_ns"] = due_ns + np.cumsum(gaps_ns).astype(np.int64)
                    due_ns = int(records["intended_ns"][-1])
                    records["sent_ns"] = records["intended_ns"] + random.integers(2_000, 60_000, n)
                    slow = 1 + 0.2 * np.sin(records["intended_ns"] / 3e8)
                    if phase == Phase.MEASURE:
                        slow *= 1 + 2 * np.exp((began_ns - records["intended_ns"]) / 2e9)
                    took_ns = random.lognormal(15.0, 0.4, n) * slow
                    records["completed_ns"] = records["sent_ns"] + took_ns.astype(np.int64)
                    records["first_byte_ns"] = records["completed_ns"] - 5_000
                    records["phase"], records["worker"] = phase, worker
                    records["request_class"] = random.random(n) < 0.2
                    failed = random.random(n) < 1e-4
                    records["status"][failed], records["reason"][failed] = Status.REFUSED, 1
                    records["first_byte_ns"][failed] = -1
                    records["sent_bytes"], records["received_bytes"] = 300, random.integers(90, 900, n)
                    records[np.argsort(records["completed_ns"])].tofile(spool)
                    end_ns = max(end_ns, int(records["completed_ns"].max()))
    return Window(START_NS, end_ns)


def scenario(points: int) -> str:
    """So many points; of more than 50, fifty for each size of data."""
    sizes, delays = max(1, points // 50), min(points, 50)
    return json.dumps(
        {
            "model": "minilm",
            "requests": [
                {"name": "short", "tokens": [16 + size for size in range(sizes)], "weight": 8},
                {"name": "long", "tokens": 128, "weight": 2},
            ],
            "server": {"queue_delay_us": list(range(delays))},
            "load": {"rate_per_s": RATE_PER_S, "arrivals": "poisson"},
            "measure": {
                "warmup_s": 5,
                "duration_s": 10,
                "at_most_s": 600,
                "precision": {"p99": 0.05, "mean": 0.05, "throughput": 0.05},
            },
            "objective": {"p99_ms": 50},
        }
    )


def readings(window: Window) -> list[HostReading]:
    """Five a second."""
    return [
        HostReading(at_ns, (at_ns - START_NS) / 1e9, (at_ns - START_NS) / 2e9, at_ns / 1e9, 2**28, 2**26)
        for at_ns in range(window.start_ns - 10**9, window.end_ns + 10**9, 200_000_000)
    ]


def make(results: Path, points: int, requests: int) -> None:
    """The spools of each point in `results`, and its window."""
    for number in range(1, points + 1):
        window = write_spools(results / f"spools-{number}", requests, seed=number)
        (results / f"window-{number}.json").write_text(json.dumps([window.start_ns, window.end_ns]))


def run(results: Path) -> None:
    """Every point: its spools to Parquet, the figures, the result; then the page. Prints what it took."""
    from harness.commands import report
    from harness.commands import run as story
    from harness.commands.derived import Derived, derived, keep
    from harness.commands.progress import Progress
    from harness.schema.observed import Observed
    from harness.store.run_folder import create_run
    from tests.report.factory import artifact, environment

    numbers = range(1, 1 + len(list(results.glob("window-*.json"))))
    windows = [Window(*json.loads((results / f"window-{n}.json").read_text())) for n in numbers]
    file = results / "many.yaml"
    file.write_text(scenario(len(windows)))
    loaded = story.load(file)
    folder = create_run(results, loaded)
    folder.write_models([artifact()])
    folder.write_environment(environment(gpu=False))
    known: dict[str, Derived] = {}
    took: dict[str, float] = {"keep_s": 0.0, "derive_s": 0.0}
    for number, (point, window) in enumerate(zip(loaded.points, windows, strict=True), start=1):
        (results / f"spools-{number}").rename(folder.begin_point(point) / "load")
        began = time.monotonic()
        took["enough"] = look(point, folder.point(point.id) / "load")
        took["look_s"] = time.monotonic() - began
        took["looked_peak_bytes"] = peak_bytes()
        began = time.monotonic()
        keep(point, folder, window=window, host=readings(window), gpu=())
        took["keep_s"] += time.monotonic() - began
        observed = Observed(
            started_at="2026-03-02T09:30:00Z",
            finished_at="2026-03-02T09:39:00Z",
            window_ns=(window.start_ns, window.end_ns),
            ended=None,
            stopped_by="duration",
            load_processes=(),
            server=None,
            cores=2,
            gpus=(),
            no_gpu="none",
            problems=(),
        )
        folder.finish_point(point, observed)
        began = time.monotonic()
        known[point.id] = derived(point, folder, observed)
        took["derive_s"] += time.monotonic() - began
        began = time.monotonic()
        result = report.collect(folder, known)
        folder.write_result(result)
        took["last_result_s"] = time.monotonic() - began
    began = time.monotonic()
    report.write_reports(folder, result, known, Progress(quiet=True))
    took["page_s"] = time.monotonic() - began
    print(json.dumps({"run": str(folder.path), "peak_bytes": peak_bytes(), **took}))


def look(point: Point, spools: Path) -> bool:
    """As while the load goes on: is what was recorded so far enough?"""
    from harness.analysis.precision import enough
    from harness.load.coordinator.stopping_rule import StoppingRule

    rule = StoppingRule(
        lambda measured: enough(point, measured), spools, 0.0, mark=lambda: 2**62, settled=lambda: True
    )
    rule.enough(1.0)
    rule.close()
    return rule.enough(1.0) is not None


def report(run_folder: Path) -> None:
    """`harness report` of it. Prints what it took."""
    from harness.commands import report as story
    from harness.commands.progress import Progress

    began = time.monotonic()
    story.rebuild(run_folder, Progress(quiet=True))
    print(json.dumps({"report_s": time.monotonic() - began, "peak_bytes": peak_bytes()}))


def peak_bytes() -> int:
    """The largest this process's resident memory has been, mapped files and libraries included."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) * 1024


def apart(what: str, path: Path, *, allocators: Mapping[str, str] | None = None) -> dict[str, Any]:
    """`run` or `report` in a process of its own, whose allocators are as they are or as the environment says;
    what it printed."""
    command = [sys.executable, "-m", "tests.e2e.ten_million", what, str(path)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, **(allocators or {})},
    )
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


if __name__ == "__main__":
    {"run": run, "report": report}[sys.argv[1]](Path(sys.argv[2]))
