"""Made-up points and samples for tests of pure functions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from harness.schema.observed import Observed
from harness.schema.point import Point, expand
from harness.schema.result import LoadProcess, ServerFigures
from harness.schema.samples import REQUEST, Phase, Requests, Status
from harness.schema.scenario import Scenario


def point(**changes: Any) -> Point:
    data: dict[str, Any] = {
        "model": "minilm",
        "requests": [{"name": "short", "tokens": 16}],
        "load": {"concurrency": 4},
    }
    (only,) = expand(Scenario.model_validate_json(json.dumps(data | changes)))
    return only


def requests(latency_s: Any, *, gap_s: float = 0.01, lag_s: float = 0.0) -> Requests:
    """One successful measured request each `gap_s`, with the given latencies from the intended send."""
    latency_s = np.asarray(latency_s, dtype=np.float64)
    made = np.zeros(latency_s.size, dtype=REQUEST)
    made["phase"] = Phase.MEASURE
    made["intended_ns"] = (np.arange(latency_s.size) * gap_s * 1e9).astype(np.int64)
    made["sent_ns"] = made["intended_ns"] + int(lag_s * 1e9)
    made["completed_ns"] = made["intended_ns"] + (latency_s * 1e9).astype(np.int64)
    made["first_byte_ns"] = made["completed_ns"]
    made["status"] = Status.OK
    return made


def server(requests: int, **changes: Any) -> ServerFigures:
    figures: dict[str, Any] = {
        "requests": requests, "inferences": requests, "executions": requests, "failures": 0, "cache_hits": 0,
        "mean_batch": 1.0, "request_s": 0.01, "queue_s": 0.001, "compute_input_s": 0.0001,
        "compute_infer_s": 0.008, "compute_output_s": 0.0001,
    }  # fmt: skip
    return ServerFigures(**(figures | changes))


def load_process(cpu_s: float | None, worker: int = 0, **changes: Any) -> LoadProcess:
    facts: dict[str, Any] = {"worker": worker, "host": "here", "pid": 100 + worker, "requests": 500}
    return LoadProcess(cpu_s=cpu_s, **(facts | changes))


def observed(requests: int, *, seconds: float = 10.0, **changes: Any) -> Observed:
    facts: dict[str, Any] = {
        "started_at": "2026-11-22T00:00:00Z", "finished_at": "2026-11-22T00:00:10Z",
        "window_ns": (0, int(seconds * 1e9)), "ended": None,
        "load_processes": (load_process(0.1),), "server": server(requests),
        "cores": 2, "gpus": (), "no_gpu": "no NVML here", "problems": (),
    }  # fmt: skip
    return Observed(**(facts | changes))
