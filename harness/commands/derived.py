"""The samples of one point: kept on disk, then read once for its figures and the series of its charts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.analysis.by_replica import as_one
from harness.analysis.derive import derive
from harness.analysis.gates.all_gates import gates_for
from harness.analysis.sample_statistics import SampleStatistics, latency_statistics
from harness.analysis.sequence_figures import sequence_figures
from harness.load.sequence_records import sequences_in
from harness.load.spools import Spools, of_arm
from harness.report.page.series import PointSeries, series_of
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import PointResult
from harness.schema.samples import GpuReading, HostReading, Window
from harness.store import samples_file
from harness.store.record import possible
from harness.store.run_folder import RunFolder
from harness.store.whole import damaged, noted

_Reading = TypeVar("_Reading", HostReading, GpuReading)


class Derived(NamedTuple):
    """Kept until the run's page is written, so that no sample is read twice. The series are small."""

    result: PointResult
    series: PointSeries
    statistics: SampleStatistics | None
    """Of its latencies."""
    faults: tuple[str, ...] = ()
    """What isn't whole of the point's files, where its figures could be derived all the same."""


SEQUENCES = "sequences.parquet"
SCRATCH = (".bin", ".npy", ".spool", ".reasons", ".clock")
"""What the load needs while it runs, and nobody after its samples are in Parquet."""


def in_sequences(point: Point) -> bool:
    """Whether its requests are steps of sequences."""
    return any(kind.sequence is not None for kind in point.requests)


def import_libraries() -> None:
    """What `keep` and `derived` import when they are first called: it takes a quarter of a second, which is
    better spent before a server is live than between two points."""
    import pyarrow.parquet
    import scipy.special  # noqa: F401

    assert pyarrow.parquet


def keep(
    point: Point,
    run: RunFolder,
    *,
    window: Window | None,
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading],
    replicas: Sequence[str] = (),
) -> None:
    """Write the samples of a point as Parquet, and only then remove the load's own files. `replicas`: the
    addresses of those that the load was spread over."""
    load = run.point(point.id) / "load"
    keep_of(point, run, load, None, window=window, host=host, gpu=gpu, replicas=replicas)
    tidy(load)


def keep_of(
    point: Point,
    run: RunFolder,
    load: Path,
    arm: int | None,
    *,
    window: Window | None,
    host: Sequence[HostReading],
    gpu: Sequence[GpuReading],
    replicas: Sequence[str] = (),
) -> None:
    """The same of one arm of a load, whose own files stay until the others', too, are written (`tidy`)."""
    folder, spools = run.point(point.id), Spools(load)
    classes = [kind.name for kind in point.requests]
    chunks = spools.chunks() if arm is None else of_arm(spools.chunks(), arm, len(classes))
    file = folder / "requests.parquet"
    samples_file.write_requests(file, chunks, classes, spools.reasons, window, replicas)
    if in_sequences(point):
        sequences = sequences_in(load)
        sequences["request_class"] %= len(classes)  # whichever replica answered
        samples_file.write_sequences(folder / SEQUENCES, sequences, classes)
    samples_file.write_host(folder / "host.parquet", host)
    samples_file.write_gpu(folder / "gpu.parquet", gpu)


def tidy(load: Path) -> None:
    """Remove what a load has left in its folder, once its samples are kept."""
    for scratch in load.iterdir():
        if scratch.suffix in SCRATCH:
            scratch.unlink()


def derived(point: Point, run: RunFolder, observed: Observed) -> Derived:
    """Figures and series of a finished point, from what is on disk and nothing else, in one pass.

    Raises NotWhole where its requests aren't whole. Without readings of the machine or its GPUs it has the
    other figures, and is at best inconclusive.
    """
    folder = run.point(point.id)
    faults: list[str] = []
    stored = samples_file.read_samples(folder / "requests.parquet")
    if stored.classes != tuple(kind.name for kind in point.requests):
        raise damaged(folder / "requests.parquet", "its request classes aren't the point's")
    if stored.replicas != tuple(each.address for each in observed.replicas):
        raise damaged(folder / "requests.parquet", "its replicas aren't the point's")
    host: list[HostReading] = []
    with noted(faults, "whether other work disturbed the point isn't known"):
        host = _possible(samples_file.read_host(folder / "host.parquet"), folder / "host.parquet")
    gpu: list[GpuReading] = []
    unseen: list[str] = []
    with noted(unseen, "what the GPUs did isn't known"):
        gpu = _possible(samples_file.read_gpu(folder / "gpu.parquet"), folder / "gpu.parquet")
    if unseen:
        observed = observed.model_copy(update={"gpus": (), "no_gpu": unseen[0]})
        faults += unseen
    sequences = None
    if in_sequences(point):
        with noted(faults, "how long sequences took isn't known"):
            sequences = samples_file.read_sequences(folder / SEQUENCES, stored.classes)
    result = derive(
        point,
        observed,
        stored.measured,
        stored.reasons,
        host,
        gpu,
        samples=str(folder.relative_to(run.path)),
        gates=gates_for(point.validity),
        lost=faults,
    )
    if sequences is not None:
        figures = sequence_figures(sequences, result.duration_s)
        result = result.model_copy(update={"sequences": figures})
    counted = result.steady_state.counted if result.steady_state else slice(None)
    classes = len(stored.classes)
    series = series_of(
        as_one(stored.warmup, classes),
        as_one(stored.measured, classes),
        stored.classes,
        host,
        gpu,
        window=Window(*observed.window_ns) if observed.window_ns else None,
        counted=counted,
    )
    return Derived(result, series, latency_statistics(stored.measured, counted), tuple(faults))


def _possible(readings: list[_Reading], file: Path) -> list[_Reading]:
    if not possible(readings):
        raise damaged(file, "it has values that nothing can have")
    return readings
