"""A results folder with runs of the past: copies of one small run, each with its own time and figures."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness.plain_text import written
from harness.store.run_folder import RunFolder
from tests.store.finished import SCENARIO

TWO_POINTS = SCENARIO.replace("rate_per_s: 100", "rate_per_s: [50, 100]")
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class PastRuns:
    """Makes such runs under `results`, of the finished run `of`. `linked`: their files are its own, which
    spares time and disk; then each new run changes the ctime of all."""

    def __init__(self, results: Path, of: Path, *, linked: bool = False) -> None:
        self.results, self._of, self._put = results, of, os.link if linked else shutil.copy2
        self._result = json.loads((self._of / "result.json").read_text())
        results.mkdir(exist_ok=True)

    def made(
        self,
        day: int = 0,
        *,
        name: str | None = None,
        p99_s: float = 0.02,
        verdict: str = "valid",
        scenario: str = "small",
        host: str = "bench-1",
        finished: bool = True,
    ) -> RunFolder:
        """A run of so many days after the first."""
        begun = FIRST + timedelta(days=day)
        folder = self.results / (name or f"{begun:%Y%m%dT%H%M%SZ}-{scenario}")
        for path in self._of.rglob("*"):
            to = folder / path.relative_to(self._of)
            if path.is_dir():
                to.mkdir(parents=True)
            elif path.name not in (".lock", "result.json"):
                to.parent.mkdir(parents=True, exist_ok=True)
                self._put(path, to)
        result = self._result | {
            "run_id": written(Path(folder.name)),
            "path": written(folder),
            "scenario": scenario,
            "started_at": begun.isoformat(),
            "finished_at": (begun + timedelta(minutes=1)).isoformat() if finished else None,
            "environment": self._result["environment"] | {"host": host},
            "answers": [],
            "points": [_with(point, p99_s, verdict) for point in self._result["points"]],
        }
        (folder / "result.json").write_text(json.dumps(result))
        return RunFolder(folder)


def _with(point: dict[str, Any], p99_s: float, verdict: str) -> dict[str, Any]:
    latency = point["latency_s"] | {"p99": p99_s}
    latency["interval_95"] = latency["interval_95"] | {"p99": [p99_s * 0.9, p99_s * 1.1]}
    return point | {"latency_s": latency, "verdict": verdict, "reasons": [], "objective": []}
