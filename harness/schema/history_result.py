"""What a results folder holds: its runs, a figure over time, and what was removed of a run's samples."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict, get_args

from pydantic import Field

from harness.schema.ab_result import Outcome
from harness.schema.frozen import Frozen
from harness.schema.night_result import NightOutcome
from harness.schema.percentiles import PERCENTILES
from harness.schema.result import Interval

SCHEMA_VERSION: Literal[1] = 1

RunKind = Literal["run", "tune", "plan", "ab", "nightly"]
"""The command that made a folder."""

RunOutcome = Literal["valid", "met", "missed", "invalid", "found"] | NightOutcome
"""How a run ended. `harness run`: every point is valid and none has an objective, every objective is met, one
is missed, a point is invalid, or the data can't tell. `tune` and `plan`: an answer was found, nothing holds
the objective, or the data can't tell. `ab` and `nightly`: their verdict."""

OUTCOMES = ("valid", "met", "missed", "invalid", "found", *get_args(Outcome), "no baseline")

METRICS: dict[str, str] = {
    **{name: "s" for name in (*PERCENTILES, "mean", "queue", "compute")},
    "throughput": "requests/s",
    "inferences": "inferences/s",
    "error_rate": "share of requests",
    "energy": "J/inference",
    "gpu_memory": "bytes",
}
"""The figures of a point that are kept for trends, with their units."""


class RunFilters(TypedDict, total=False):
    """Which runs of a scenario are meant; what is left out or None filters nothing."""

    model: str | None
    """A part of its name, like `machine` of the host's or the hardware's."""
    machine: str | None
    kind: str | None
    since: str | None
    """A date, a time or an age (7d, 12h, 2w)."""


class Filters(RunFilters, total=False):
    """Which runs are meant."""

    scenario: str | None
    outcome: str | None


class SkippedFolder(Frozen):
    """A folder whose figures aren't counted."""

    folder: str
    why: str
    """In a sentence."""


class HistoryRun(Frozen):
    """One run, search, plan, comparison or night."""

    folder: str
    """Its name in the results folder; of a name that isn't UTF-8, with escapes."""
    run_id: str
    kind: RunKind
    scenario: str
    model: str | None
    host: str | None
    hardware: str | None
    """The GPUs that are there, else the CPU."""
    harness_version: str | None
    started_at: str
    """UTC, ISO 8601."""
    finished_at: str | None
    outcome: RunOutcome
    why: str | None
    """Of a night, in a sentence why it ended so."""
    points: int
    valid_points: int
    point: str | None
    """The point that the three figures below are of: the best one of the first workload; of `tune` the
    recommended configuration. Null where no point may be named, and of a comparison or a plan."""
    p99_s: float | None
    throughput_per_s: float | None
    """Requests a second; of `tune` the capacity."""
    thinned_at: str | None
    """When its raw samples were removed; null while they are there."""


class History(Frozen):
    """What `harness history` finds."""

    schema_version: Literal[1] = SCHEMA_VERSION
    results: str
    found: int
    """How many runs fit, of which `runs` are the newest."""
    runs: tuple[HistoryRun, ...]
    skipped: tuple[SkippedFolder, ...]


class TrendValue(Frozen):
    """A figure of one run."""

    folder: str
    kind: RunKind
    started_at: str
    harness_version: str | None
    triton_version: str | None
    driver: str | None
    """The GPUs'; null where there are none."""
    point_id: str | None
    """The same as long as the point is specified alike; null of a night's."""
    value: float
    interval_95: Interval | None


class TrendSeries(Frozen):
    """One point of a scenario, with one model on one machine, over time."""

    point: str
    model: str | None
    host: str | None
    hardware: str | None
    values: tuple[TrendValue, ...]
    """The oldest first."""


class Trend(Frozen):
    """What `harness history trend` finds."""

    schema_version: Literal[1] = SCHEMA_VERSION
    results: str
    scenario: str
    metric: str
    unit: str
    series: tuple[TrendSeries, ...]
    left_out: dict[str, int]
    """Points that have the figure and aren't counted, by their verdict."""
    skipped: tuple[SkippedFolder, ...]


SqlValue = str | int | float | bool | None


class SqlTable(Frozen):
    """What a query gave."""

    schema_version: Literal[1] = SCHEMA_VERSION
    columns: tuple[str, ...]
    rows: tuple[tuple[SqlValue, ...], ...]
    more: bool
    """Whether rows after these were left out."""


class Thinned(Frozen):
    """`thinned.json` in a run's folder: which raw samples were removed."""

    schema_version: Literal[1] = SCHEMA_VERSION
    thinned_at: str
    """UTC, ISO 8601."""
    harness_version: str
    older_than_days: float
    files: dict[str, Annotated[int, Field(ge=0)]]
    """Bytes of each, by its path in the folder."""


class ThinnedRun(Frozen):
    """A run whose samples were removed, or would be."""

    folder: str
    started_at: str
    files: int
    bytes: int


class Thinning(Frozen):
    """What `harness history thin` did, or would do."""

    schema_version: Literal[1] = SCHEMA_VERSION
    results: str
    dry_run: bool
    runs: tuple[ThinnedRun, ...]
    skipped: tuple[SkippedFolder, ...]
    """Of those that are old enough."""


class ArchivedFile(Frozen):
    """A file in an archive of a run."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ArchiveManifest(Frozen):
    """`manifest.json`, the last file of an archive of a run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    folder: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,200}$")]
    """The name of the run's folder."""
    exported_at: str
    harness_version: str
    files: dict[str, ArchivedFile]
    """By the path in the run's folder."""
