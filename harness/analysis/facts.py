"""What the gates and the bottleneck's rule know of a point: figures, no samples."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.gpu import GpuWatch
from harness.schema.result import (
    GpuFigures,
    HostFigures,
    Latency,
    ObjectiveCheck,
    ReplicaFigures,
    ServerFigures,
    SteadyState,
    TimeSplit,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Figures of the measured phase. Only `latency` and `service` leave out its initial transient."""

    requests: int
    """Requests that ended, errors among them."""
    errors: int
    seconds: float | None
    """Length of the phase."""
    latency: Latency
    service: Latency
    service_mean_s: float | None
    """Mean time from the actual send to the last byte, over all successes of the phase, as Triton's are."""
    throughput_requests_per_s: float | None
    send_lag_p99_s: float | None
    """How late the client itself was; None in a closed loop."""
    in_flight_mean: float | None
    """Requests sent and not yet answered, on average over the time in which load was offered."""
    backlog: tuple[int, int] | None
    """Requests due and not yet answered, at half time and at the last intended one; None in a closed loop."""
    steady: SteadyState
    time_s: TimeSplit
    server: ServerFigures | None
    host: HostFigures | None
    gpu: tuple[GpuFigures, ...] | None
    gpu_watch: tuple[GpuWatch, ...]
    """How well each of `gpu` was watched, in the same order; empty without a measured phase."""
    objective: tuple[ObjectiveCheck, ...]
    replicas: tuple[ReplicaFigures, ...] = ()
