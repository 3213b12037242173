"""The samples of one point: kept on disk, then read once for its figures and the series of its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.analysis.derive import derive
from harness.analysis.gates.all_gates import gates_for
from harness.load.spools import Spools
from harness.report.page.series import PointSeries, series_of
from harness.schema.errors import InputError
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import PointResult
from harness.schema.samples import GpuReading, HostReading, Window
from harness.store import samples_file
from harness.store.record import possible
from harness.store.run_folder import RunFolder


class Derived(NamedTuple):
    """Kept until the run's page is written, so that no sample is read twice. The series are small."""

    result: PointResult
    series: PointSeries


SCRATCH = (".bin", ".npy", ".spool", ".reasons", ".clock")
"""What the load needs while it runs, and nobody after its samples are in Parquet."""


def import_libraries() -> None:
    """What `keep` and `derived` import when they are first called: it takes half a second, which is better
    spent before a server is live than between two points."""
    import pandas  # noqa: F401 - pyarrow imports it
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
) -> None:
    """Write the samples of a point as Parquet, and only then remove the load's own files."""
    folder = run.point(point.id)
    spools = Spools(folder / "load")
    chunks = spools.chunks()
    classes = [kind.name for kind in point.requests]
    samples_file.write_requests(folder / "requests.parquet", chunks, classes, spools.reasons, window)
    samples_file.write_host(folder / "host.parquet", host)
    samples_file.write_gpu(folder / "gpu.parquet", gpu)
    for scratch in (folder / "load").iterdir():
        if scratch.suffix in SCRATCH:
            scratch.unlink()


def derived(point: Point, run: RunFolder, observed: Observed) -> Derived:
    """Figures and series of a finished point, from what is on disk and nothing else, in one pass."""
    folder = run.point(point.id)
    stored = samples_file.read_samples(folder / "requests.parquet")
    if stored.classes != tuple(kind.name for kind in point.requests):
        raise InputError(
            f"{folder / 'requests.parquet'} is of another point: its request classes aren't the scenario's"
        )
    host = samples_file.read_host(folder / "host.parquet")
    gpu = samples_file.read_gpu(folder / "gpu.parquet")
    if not possible([*host, *gpu]):
        raise InputError(
            f"the readings in {folder} have values that nothing can have: remove it, and measure the point "
            "again with `harness run --resume`"
        )
    result = derive(
        point,
        observed,
        stored.measured,
        stored.reasons,
        host,
        gpu,
        samples=str(folder.relative_to(run.path)),
        gates=gates_for(point.validity),
    )
    series = series_of(
        stored.warmup,
        stored.measured,
        stored.classes,
        host,
        gpu,
        window=Window(*observed.window_ns) if observed.window_ns else None,
        counted=result.steady_state.counted if result.steady_state else slice(None),
    )
    return Derived(result, series)
