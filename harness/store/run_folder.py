"""`results/<run>/`: what a run leaves on disk, each file whole or not there at all.

    scenario.yaml      the file the user gave, as it was
    scenario.json      what it meant: overrides applied, defaults filled in
    scenario.seal      who began the run (harness.store.seal)
    run.json           which points are planned (harness.store.run_points)
    model.json         what was exported and proven, or taken as it is
    other_models.json  the same in other dtypes, where points name several
    environment.json   where it was measured
    result.json        RunResult, made of all of these and rewritten after each point
    points/<id>/       point.json, requests.parquet, host.parquet, gpu.parquet, observed.json, load/, …
    server.log, report.html, summary.md, perf_analyzer-*.csv

A point has begun when its `point.json` is there, and is finished when its `observed.json` is: it is written
last, after the samples.

A folder may come from somebody else. Only plain files and folders may lie where harness reads and writes, so
that it does neither elsewhere; they are read up to a size that they can have.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from harness import atomic
from harness.clock import stamp
from harness.plain_file import check_plain, open_plain, read_plain
from harness.schema.errors import HarnessError, InputError
from harness.schema.frozen import Frozen
from harness.schema.model import ModelArtifact
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import Environment, RunResult
from harness.schema.scenario import Scenario
from harness.store import record, run_folder_0_1, run_points
from harness.store.record import read_record
from harness.store.run_points import RunPoints
from harness.store.scenario_file import LoadedScenario
from harness.store.seal import seal

_Record = TypeVar("_Record", bound=BaseModel)
_FILES: dict[type[BaseModel], tuple[str, int]] = {
    Environment: ("environment.json", record.MOST_BYTES),
    RunResult: ("result.json", 100 * record.MOST_BYTES),
}
"""Each of the run's own records: its name, and the most bytes it is read to. A result is made of all the
others, and only read where it was just written."""
_MANY_MODELS = TypeAdapter(tuple[ModelArtifact, ...])
_SEALED = ("scenario.json", "scenario.yaml")
_POINT_DEPTH = 3
"""Folders down from the run's to a point's `load`, in which nothing has a folder of its own."""


class _Resolved(Frozen):
    """`scenario.json`."""

    name: Annotated[str, Field(max_length=255)]
    folder: Annotated[str, Field(max_length=4096)]
    scenario: JsonValue


class StoredScenario(NamedTuple):
    """As LoadedScenario, without the points that the scenario lists."""

    name: str
    folder: Path
    text: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    def point(self, point_id: str) -> Path:
        return self.path / "points" / point_id

    def points(self) -> RunPoints:
        """Which points the run has. Raises InputError for a folder that doesn't say so as it should."""
        if run_points.has_planned(self.path):
            return run_points.read_points(self.path)
        return run_folder_0_1.points_of(self.path, self.read_scenario().scenario)

    def end(self) -> None:
        """Say of a run whose points a caller began one after another that no more of them follow."""
        begun = [point.id for point in self.points().begun]
        run_points.write_planned(self.path, [id_ for id_ in begun if self.observed(id_) is not None])

    def bring_up_to_date(self) -> None:
        """Write what a folder of an earlier harness doesn't say about its points."""
        if not run_points.has_planned(self.path):
            run_folder_0_1.bring_up_to_date(self.path, self.read_scenario().scenario)

    def observed(self, point_id: str) -> Observed | None:
        """The facts of a finished point; None while it isn't finished."""
        file = self.point(point_id) / "observed.json"
        return read_record(file, Observed.model_validate_json) if file.exists() else None

    def begin_point(self, point: Point) -> Path:
        """A folder for a point, in which nothing but the point itself stands; what an earlier, killed attempt
        at it left is set aside, not lost."""
        folder = self.point(point.id)
        number = run_points.next_number(self.path, point.id)
        if folder.exists():
            attempt = 1
            while (aside := folder.with_name(f"{folder.name}.unfinished-{attempt}")).exists():
                attempt += 1
            folder.rename(aside)
        folder.mkdir(parents=True)
        run_points.write_point(folder, number, point)
        return folder

    def finish_point(self, point: Point, observed: Observed) -> None:
        atomic.write_text(self.point(point.id) / "observed.json", observed.model_dump_json(indent=1))

    def write(self, written: Environment | RunResult) -> None:
        """Write one of the run's own records to its file."""
        name, _ = _FILES[type(written)]
        atomic.write_text(self.path / name, written.model_dump_json(indent=1))

    def write_models(self, models: Sequence[ModelArtifact]) -> None:
        """Write what the run's points are served, that of the first point first."""
        first, *others = models
        if others:
            text = _MANY_MODELS.dump_json(tuple(others), indent=1).decode()
            atomic.write_text(self.path / "other_models.json", text)
        atomic.write_text(self.path / "model.json", first.model_dump_json(indent=1))

    def read_models(self) -> tuple[ModelArtifact, ...]:
        """As `write_models` was given them; empty while it wasn't called."""
        first, others = self.path / "model.json", self.path / "other_models.json"
        if not first.exists():
            return ()
        more = read_record(others, _MANY_MODELS.validate_json) if others.exists() else ()
        return (read_record(first, ModelArtifact.model_validate_json), *more)

    def read(self, kind: type[_Record]) -> _Record | None:
        """One of the run's own records; None while it wasn't written."""
        name, most_bytes = _FILES[kind]
        file = self.path / name
        return read_record(file, kind.model_validate_json, most_bytes) if file.exists() else None

    @property
    def scenario_name(self) -> str:
        """Name of the scenario file, without its folder and ending."""
        return self._resolved().name

    def read_scenario(self) -> StoredScenario:
        """The scenario as it was resolved when the run began. Raises InputError where it can't be read."""
        stored = self._resolved()
        try:
            scenario = Scenario.model_validate_json(json.dumps(stored.scenario))
            text = read_plain(self.path / "scenario.yaml", record.MOST_BYTES).decode()
        except (ValueError, FileNotFoundError) as error:
            raise record.not_ours(self.path / "scenario.json") from error
        return StoredScenario(stored.name, Path(stored.folder), text, scenario)

    def _resolved(self) -> _Resolved:
        file = self.path / "scenario.json"
        if not file.exists():
            raise InputError(
                f"{self.path} isn't a run's folder: name one under results/ that `harness run` made"
            )
        return read_record(file, _Resolved.model_validate_json)

    @property
    def begun_here(self) -> bool:
        """Whether this user's harness began the run, with the scenario that now lies in it."""
        try:
            given = read_plain(self.path / "scenario.seal", 1000)
            return hmac.compare_digest(given, self._seal().encode())
        except FileNotFoundError:
            return False

    def _seal(self) -> str:
        return seal(*(read_plain(self.path / name, record.MOST_BYTES) for name in _SEALED))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second harness writes into it. The lock ends with the process."""
        try:
            held = open_plain(self.path / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise HarnessError(
                f"{self.path} can't be written ({error.strerror}): copy it to a folder that you can write"
            ) from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(held)
            raise InputError(
                f"another harness writes to {self.path}: wait until it ends, or start another run"
            ) from error
        try:
            yield
        finally:
            os.close(held)


def create_run(results: Path, loaded: LoadedScenario, *, one_after_another: bool = False) -> RunFolder:
    """A new folder under `results`, named by time and scenario, with the scenario in it.

    `one_after_another`: not the scenario but the caller says which points the run has, by beginning them, and
    `RunFolder.end` that it has no more.
    """
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", loaded.name)[:60] or "scenario"
    begun = stamp()
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        path = results / f"{begun}-{slug}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise HarnessError(
                f"{path} can't be made ({error.strerror}): choose another folder with --results"
            ) from error
        folder = RunFolder(path.resolve())
        atomic.write_text(path / "scenario.yaml", loaded.text)
        resolved = {
            "name": loaded.name,
            "folder": str(loaded.folder),
            "scenario": loaded.scenario.model_dump(mode="json", exclude_none=True),
        }
        atomic.write_text(path / "scenario.json", json.dumps(resolved, indent=1))
        atomic.write_text(path / "scenario.seal", folder._seal())
        run_points.write_planned(path, None if one_after_another else [point.id for point in loaded.points])
        return folder
    raise HarnessError(f"a hundred runs of {slug} began in one second in {results}: wait a second")


def open_run(path: Path) -> RunFolder:
    """An earlier run's folder. Raises InputError where there is none, and where what lies in it leads out."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder: name a run under results/")
    folder = RunFolder(path.resolve())
    _check_plain(folder.path, _POINT_DEPTH)
    return folder


def latest_unfinished(results: Path, scenario: Path | None, say: Callable[[str], None]) -> RunFolder:
    """The newest run under `results` with planned points missing, of `scenario` where given.

    One that can't be read is passed over, and `say` told why. Raises InputError where there is none.
    """
    for path in sorted(results.glob("*/scenario.json"), reverse=True):
        try:
            folder = open_run(path.parent)
            begun = folder.read_scenario()
            planned, points = folder.points()
            finished = {point.id for point in points if folder.observed(point.id) is not None}
        except InputError as error:
            say(f"passed over: {error}")
            continue
        of_it = scenario is None or (begun.name, begun.folder) == (scenario.stem, scenario.resolve().parent)
        if of_it and planned is not None and not finished.issuperset(planned):
            return folder
    of = f" of {scenario}" if scenario else ""
    raise InputError(f"{results} has no unfinished run{of}: start one with `harness run` without --resume")


def _check_plain(folder: Path, depth: int) -> None:
    """Raise InputError where there is anything but plain files and folders, so far down as harness looks."""
    try:
        for path in folder.iterdir():
            check_plain(path, folder=True)
            if depth and path.is_dir():
                _check_plain(path, depth - 1)
    except OSError as error:
        raise InputError(
            f"{folder} can't be read ({error.strerror}): give yourself the right to read it"
        ) from error
