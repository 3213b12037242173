"""`harness report`: everything that is derived from raw samples, made again from a run's folder alone."""

from __future__ import annotations

from pathlib import Path

from harness.commands.measure import derived
from harness.commands.progress import Progress
from harness.report.markdown import summary
from harness.report.page import write_page
from harness.report.perf_analyzer import csv_files
from harness.report.series import PointSeries, series_of
from harness.schema.errors import HarnessError
from harness.schema.point import Point
from harness.schema.result import RunResult
from harness.schema.samples import Window
from harness.store import samples_file
from harness.store.run_folder import RunFolder, open_run, write_atomically


def rebuild(path: Path) -> RunResult:
    """Derive the figures of every finished point again, then write the result, the page and the files."""
    folder = open_run(path)
    with folder.locked():
        before = folder.read_result()
        points = []
        for point in folder.read_scenario().points:
            observed = folder.observed(point.id)
            if observed is not None:
                points.append(derived(point, folder, observed))
        folder.write_result(before.model_copy(update={"points": tuple(points), "path": str(folder.path)}))
        return write(folder, Progress())


def write(folder: RunFolder, progress: Progress) -> RunResult:
    """The page and the other files, from `result.json` and the samples."""
    result = folder.read_result()
    series = {p.id: _series(folder, p.point) for p in result.points}
    try:
        write_page(result, series, folder.page)
    except OSError as error:
        raise HarnessError(
            f"{folder.page} can't be written ({error.strerror}): make room, then run "
            f"`harness report {folder.path}`"
        ) from error
    write_atomically(folder.path / "summary.md", summary(result))
    for name, text in csv_files(result).items():
        write_atomically(folder.path / name, text)
    progress.say(f"page: {folder.page}")
    return result


def _series(folder: RunFolder, point: Point) -> PointSeries:
    samples = folder.point(point.id)
    stored = samples_file.read_requests(samples / "requests.parquet")
    observed = folder.observed(point.id)
    window = Window(*observed.window_ns) if observed and observed.window_ns else None
    host = samples_file.read_host(samples / "host.parquet")
    readings = samples_file.read_gpu(samples / "gpu.parquet")
    return series_of(stored.requests, stored.classes, host, readings, window)
