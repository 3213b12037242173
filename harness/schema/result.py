"""What a run leaves behind: `result.json` and what `harness run --json` prints.

Units stand in the names. A value that was not observed is null, never 0.
"""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.model import ModelArtifact
from harness.schema.point import Point

SCHEMA_VERSION = 1

Verdict = Literal["valid", "invalid", "inconclusive"]

Interval = tuple[float, float]
"""Low and high end of a 95% confidence interval."""


class Latency(Frozen):
    """Seconds from the intended send to the last byte, over the requests that succeeded.

    A percentile that the sample cannot support is null.
    """

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    min: float | None
    max: float | None
    interval_95: dict[str, Interval]
    """95% intervals by name (`p50`, …, `mean`) for each value above that has one."""


class ServerFigures(Frozen):
    """Differences of Triton's own statistics over the measured phase. Times are means per request."""

    requests: int
    """Requests that reached the model, failures among them."""
    inferences: int
    executions: int
    failures: int
    cache_hits: int
    mean_batch: float | None
    """Inferences per execution: how well the dynamic batcher filled its batches."""
    request_s: float | None
    """The whole time in Triton."""
    queue_s: float | None
    compute_input_s: float | None
    compute_infer_s: float | None
    compute_output_s: float | None


class GpuFigures(Frozen):
    """One GPU over the measured phase."""

    device: int
    name: str
    utilization_mean: float | None
    memory_bytes_max: int | None
    power_w_mean: float | None
    energy_j: float | None
    energy_j_per_inference: float | None
    temperature_c_max: float | None
    sm_clock_hz_mean: float | None
    throttle_reasons: tuple[str, ...] | None


class HostFigures(Frozen):
    """The host over the measured phase, server and load generator apart. A core is a core-second a second."""

    cores: int
    host_busy_cores: float | None
    server_cpu_cores: float | None
    client_cpu_cores: float | None
    client_cpu_s_per_request: float | None
    server_memory_bytes: int | None
    client_memory_bytes: int | None


class ClassFigures(Frozen):
    """One request class of a point."""

    name: str
    batch: int
    axes: dict[str, int]
    requests: int
    errors: int
    latency_s: Latency


class ObjectiveCheck(Frozen):
    """One line of the objective against what was measured. `met` is null where the data can't tell."""

    name: str
    limit: float
    observed: float | None
    met: bool | None


class PointResult(Frozen):
    """One measured point. `verdict` says whether the figures may be used, `objective` whether they please."""

    id: str
    params: dict[str, str | int | float | bool]
    point: Point
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What a reader should know that doesn't make the point invalid."""
    started_at: str
    """UTC, ISO 8601."""
    duration_s: float | None
    """Length of the measured phase."""
    requests: int
    """Requests that ended in the measured phase, errors among them."""
    errors: int
    error_reasons: dict[str, int]
    throughput_requests_per_s: float | None
    throughput_inferences_per_s: float | None
    throughput_interval_95: Interval | None
    latency_s: Latency
    service_s: Latency
    """The same from the actual send: what a closed-loop tool would report."""
    send_lag_p99_s: float | None
    """How late the client itself was; null in a closed loop."""
    classes: tuple[ClassFigures, ...]
    server: ServerFigures | None
    gpu: tuple[GpuFigures, ...] | None
    host: HostFigures | None
    objective: tuple[ObjectiveCheck, ...]
    samples: str
    """Folder of the raw samples, relative to the run's."""


class GpuEnvironment(Frozen):
    device: int
    name: str
    uuid: str
    memory_bytes: int | None
    driver: str | None
    cuda_driver: str | None
    power_limit_w: float | None
    persistence: bool | None
    ecc: bool | None
    mig: bool | None


class Environment(Frozen):
    """Where a run happened. Runs that differ here are not compared without saying so."""

    host: str
    os: str
    kernel: str
    cpu: str
    cores: int
    memory_bytes: int
    gpus: tuple[GpuEnvironment, ...]
    python: str
    packages: dict[str, str]
    harness_version: str
    git_commit: str | None
    """Of the folder the run was started in; "+dirty" is appended for uncommitted changes."""
    triton_version: str | None
    server_mode: Literal["embedded", "remote"]
    server_url: str
    backend: str
    """Which implementation served the model, in words, e.g. "onnxruntime on Triton's Python backend"."""
    execution_provider: str | None


class RunResult(Frozen):
    """`result.json`: one run of one scenario."""

    schema_version: Literal[1] = 1
    run_id: str
    path: str
    scenario: str
    """Name of the scenario file, without its folder."""
    started_at: str
    finished_at: str | None
    """Null while points are missing."""
    planned: tuple[str, ...]
    """Ids of every point of the run, in order."""
    model: ModelArtifact
    environment: Environment
    points: tuple[PointResult, ...]
