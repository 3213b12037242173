"""Made-up points and samples for tests of pure functions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from harness.analysis.facts import Facts
from harness.schema.expansion import expand
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import (
    GpuFigures,
    HostFigures,
    Latency,
    LoadProcess,
    ServerFigures,
    SteadyState,
    TimeSplit,
)
from harness.schema.samples import REQUEST, Phase, Requests, Status
from harness.schema.scenario import Scenario


def point(**changes: Any) -> Point:
    data: dict[str, Any] = {
        "model": "minilm",
        "requests": [{"name": "short", "tokens": 16}],
        "load": {"rate_per_s": 100},
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
        "mean_batch": 1.0, "request_s": 0.005, "queue_s": 0.001, "compute_input_s": 0.0001,
        "compute_infer_s": 0.0035, "compute_output_s": 0.0001,
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


def latency(p50: float | None = 0.006, **changes: Any) -> Latency:
    values = dict.fromkeys(("p90", "p95", "p99", "p999", "mean", "min", "max"), p50)
    return Latency(**({"p50": p50, "interval_95": {}} | values | changes))


def steady_state(steady: bool | None = True, why: str = "no drift") -> SteadyState:
    return SteadyState(steady=steady, skipped_requests=0, skipped_s=0.0, why=why)


def time_split(**changes: Any) -> TimeSplit:
    parts: dict[str, Any] = {
        "client_s": 0.0001, "network_s": 0.001, "queue_s": 0.001, "input_s": 0.0001, "compute_s": 0.0035,
        "output_s": 0.0001,
    }  # fmt: skip
    return TimeSplit(**(parts | changes))


def host(**changes: Any) -> HostFigures:
    """Two cores with nothing on them but the server and the load."""
    figures: dict[str, Any] = {
        "cores": 2, "host_busy_cores": 0.7, "server_cpu_cores": 0.5, "client_cpu_cores": 0.1,
        "client_cpu_s_per_request": 0.001, "server_memory_bytes": 1, "client_memory_bytes": 1,
        "harness_cpu_cores": 0.02, "foreign_cpu_cores": 0.05, "stolen_cpu_cores": 0.0,
        "throttled_cpu_cores": None,
    }  # fmt: skip
    return HostFigures(**(figures | changes))


def gpu(**changes: Any) -> GpuFigures:
    figures: dict[str, Any] = {
        "device": 0, "name": "a GPU", "utilization_mean": 0.5, "memory_bytes_max": 1, "power_w_mean": 300.0,
        "energy_j": 1.0, "energy_j_per_inference": 0.1, "temperature_c_max": 60.0, "sm_clock_hz_mean": 1e9,
        "throttle_reasons": (), "foreign_processes": (),
    }  # fmt: skip
    return GpuFigures(**(figures | changes))


def facts(requests: int = 1000, **changes: Any) -> Facts:
    """A good point: 1000 requests in 10 s of an open loop, 5.8 ms each, 40% of an instance's time."""
    values: dict[str, Any] = {
        "requests": requests, "errors": 0, "seconds": 10.0, "latency": latency(), "service": latency(),
        "service_mean_s": 0.0058, "throughput_requests_per_s": 100.0, "send_lag_p99_s": 0.0001,
        "in_flight_mean": 0.58, "backlog": (0, 0), "steady": steady_state(), "time_s": time_split(),
        "server": server(requests), "host": host(), "gpu": None, "gpu_watch": (), "objective": (),
    }  # fmt: skip
    return Facts(**(values | changes))
