"""What happened in a point besides its samples: `observed.json`. Both together give its result again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field

from harness.schema.frozen import Frozen
from harness.schema.point import ServerSettings
from harness.schema.result import (
    AnswerCheck,
    ComposingModel,
    GpuEnvironment,
    GpuProbe,
    LoadProcess,
    ServerFigures,
    StoppedBy,
)
from harness.schema.turns import Turns


def _moment(text: str) -> str:
    if not 1970 < datetime.fromisoformat(text).year < 9999:
        raise ValueError("no time at which anybody measured")
    return text


Moment = Annotated[str, AfterValidator(_moment)]
"""UTC, ISO 8601."""


class ArmObserved(Frozen):
    """One of several that got the same load in turns."""

    number: int
    turns: Turns
    start_ns: int | None
    """When the measured phase began, CLOCK_MONOTONIC; None where it didn't."""


class ReplicaObserved(Frozen):
    """One of several servers that the load was spread over."""

    address: str
    server: ServerFigures | None
    """Its statistics, as the difference over the measured phase; None where they couldn't be read."""


class Observed(Frozen):
    """Facts of one point that no sample holds. With the samples, all that `analysis.derive` needs."""

    harness_version: str | None = None
    """Which harness measured it; None of one that didn't say so yet."""
    started_at: Moment
    finished_at: Moment
    window_ns: tuple[int, int] | None
    """Start and end of the measured phase, CLOCK_MONOTONIC; None when it never began or never ended."""
    arm: ArmObserved | None = None
    """None of a point that had the load for itself."""
    ended: str | None
    """Why the point ended early, in words; None for one that ran to its end."""
    stopped_by: StoppedBy | None = None
    """What ended the measured phase; None where it didn't come to its end."""
    enough_ns: int | None = None
    """What was due before this was found enough, and ended the phase: the figures are of it. CLOCK_MONOTONIC;
    None where the figures are of the whole phase."""
    load_processes: tuple[LoadProcess, ...]
    server_restarted: str | None = None
    """How it was seen that the server was restarted during the point, in words."""
    server: ServerFigures | None
    """Triton's statistics, as the difference over the measured phase; None where they couldn't be read."""
    replicas: tuple[ReplicaObserved, ...] = ()
    """Those that the load was spread over, whose statistics `server` has together; empty where it went to
    one."""
    several: bool = False
    """Whether what was measured is no model that computes itself: an ensemble, or classes of several models,
    whose statistics `server` has together."""
    composing: tuple[ComposingModel, ...] = ()
    """The models that worked for the measured one meanwhile, how busy they were not said yet."""
    cores: int
    """Cores that harness may use, by its affinity and its quota."""
    host_cores: int | None = None
    """Cores of the whole machine, which its CPU times are about."""
    execution_provider: str | None = None
    """What ONNX Runtime computed this point with; None where the server doesn't tell."""
    loaded: ServerSettings | None = None
    """How the model was configured on a server that already ran, its `instances` those of all GPUs together;
    None on one of ours, where it is as the point says."""
    answer_check: AnswerCheck | None = Field(
        default=None, validation_alias=AliasChoices("answer_check", "answers")
    )
    """None where none was compared."""
    gpus: tuple[GpuEnvironment, ...]
    no_gpu: str | None
    """Why there are no GPU readings, in words."""
    gpu_probe: GpuProbe | None = None
    idle_ns: tuple[int, int] | None = None
    """A time before the load in which the model was loaded and nothing asked for it, CLOCK_MONOTONIC."""
    problems: tuple[str, ...]
    """What went wrong with observing."""
