"""What `harness gpu-check` found on a machine with a GPU: the record behind docs/gpu.md.

A figure that wasn't taken is null or not in its list, and `failures` or a `why` says so.
"""

from __future__ import annotations

from typing import Literal

from harness.schema.frozen import Frozen
from harness.schema.model import ModelArtifact
from harness.schema.result import Environment, GpuProbe, Interval, Verdict
from harness.schema.scenario import Protocol


class SmokePoint(Frozen):
    """A point of the scenario that the check measures, in short."""

    label: str
    verdict: Verdict
    reasons: tuple[str, ...]
    missed: tuple[str, ...]
    """Objectives that were not held, by name."""
    inferences_per_s: float | None
    inferences_per_s_interval_95: Interval | None
    p50_s: float | None
    p99_s: float | None
    sm_activity: float | None
    """The mean over the GPUs that the point used; the two below are means too."""
    energy_j_per_inference: float | None
    idle_energy_j_per_inference: float | None


class Direct(Frozen):
    """An ONNX session that one process called again and again."""

    provider: str
    calls: int
    inferences_per_s: float
    p50_s: float
    """The time of one call."""


class Beside(Frozen):
    """One round: the same ONNX file called directly, then behind Triton, with the same batches."""

    direct: Direct
    triton_inferences_per_s: float | None
    triton_p50_s: float | None
    ratio: float | None
    """Triton's throughput over the session's."""
    why: str | None = None
    """Why Triton's is null."""


class Comparison(Frozen):
    """The encoder behind Triton and called directly, in turns."""

    model: ModelArtifact
    axes: dict[str, int]
    batch: int
    load: str
    rounds: tuple[Beside, ...]
    ratio: float | None
    """The median of the rounds'."""


class EnergyCheck(Frozen):
    """The energy counter's difference over a point beside the power readings integrated over it."""

    label: str
    device: int
    seconds: float
    energy_j: float
    energy_j_by_power: float
    ratio: float
    """By power over by counter."""


class ClientShare(Frozen):
    """What the client cost at the highest rate that was measured."""

    label: str
    protocol: Protocol
    requests_per_s: float
    cpu_share: float
    """The share of one core that the busiest load process used."""
    cpu_s_per_request: float | None


class GpuCheck(Frozen):
    """Everything that one check found."""

    schema_version: Literal[1] = 1
    started_at: str
    finished_at: str
    command: str
    path: str
    """The folder of the evidence."""
    environment: Environment
    run: str
    """The folder of the scenario's run, relative to `path`."""
    recording: str | None
    """The file with what NVML answered meanwhile, likewise; null where there was none to be had."""
    points: tuple[SmokePoint, ...]
    comparison: Comparison | None
    energy: tuple[EnergyCheck, ...]
    client: ClientShare | None
    probe: GpuProbe | None
    """How the GPUs were read in the point in which that cost most."""
    failures: tuple[str, ...]
    """What didn't pass, one sentence each."""
