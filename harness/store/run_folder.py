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

What isn't whole of it (harness.store.whole) is said, and keeps nobody from the rest.

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from harness import atomic
from harness.clock import stamp
from harness.plain_file import check_plain, open_plain
from harness.plain_text import written
from harness.schema.errors import HarnessError, InputError, NotWritable
from harness.schema.expansion import expand
from harness.schema.frozen import Frozen
from harness.schema.model import Model
from harness.schema.observed import Observed
from harness.schema.point import Point
from harness.schema.result import Environment, RunResult
from harness.schema.scenario import Scenario
from harness.store import record, run_points, thinned, whole
from harness.store.record import read_record, read_whole
from harness.store.run_points import RunPoints
from harness.store.scenario_file import LoadedScenario
from harness.store.seal import seal
from harness.store.whole import Absent, NotWhole, is_there

_Told = TypeVar("_Told")
MOST_RESULT_BYTES = 100 * record.MOST_BYTES
_MODEL: TypeAdapter[Model] = TypeAdapter(Model)
_MANY_MODELS = TypeAdapter(tuple[Model, ...])
_SEALED = ("scenario.json", "scenario.yaml")
_POINT_DEPTH = 3
"""Folders down from the run's to a point's `load`, in which nothing has a folder of its own."""


class _Resolved(Frozen):
    """`scenario.json`."""

    schema_version: Literal[2] | None = None
    """None in a folder of harness 0.1."""
    name: Annotated[str, Field(max_length=255)]
    folder: Annotated[str, Field(max_length=4096)]
    scenario: JsonValue


class StoredScenario(NamedTuple):
    """As LoadedScenario, without the points that the scenario lists."""

    name: str
    folder: Path
    text: str | None
    """None where `scenario.yaml` isn't whole."""
    scenario: Scenario


class About(NamedTuple):
    """What a run measured, and where. Where one of its records isn't whole, this is what the last result had
    of it."""

    scenario: str
    models: tuple[Model, ...]
    environment: Environment | None
    faults: tuple[str, ...]


class _LastResult(BaseModel):
    """The part of `result.json` that was not derived from samples."""

    scenario: str
    model: Model | None
    other_models: tuple[Model, ...] = ()
    environment: Environment | None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run on disk."""

    path: Path

    @property
    def run_id(self) -> str:
        return written(Path(self.path.name))

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    def point(self, point_id: str) -> Path:
        return self.path / "points" / point_id

    def points(self) -> RunPoints:
        """Which points the run has. Raises InputError for a folder that doesn't say so as it should."""
        return run_points.read_points(self.path, self._listed, of_0_1=self._of_0_1)

    def end(self) -> None:
        """Say of a run whose points a caller began one after another that no more of them follow."""
        begun = [point.id for point in self.points().begun]
        run_points.write_planned(self.path, [id_ for id_ in begun if self.observed(id_) is not None])

    def bring_up_to_date(self) -> None:
        """Write what the folder, one of an earlier harness or one that has lost files, doesn't say about its
        points."""
        run_points.complete_points(self.path, self._listed())

    def _listed(self) -> tuple[Point, ...]:
        return expand(self.read_scenario().scenario)

    @property
    def _of_0_1(self) -> bool:
        if is_there(self.path / "run.json"):
            return False
        try:
            return self._resolved().schema_version is None
        except NotWhole:
            return False

    def observed(self, point_id: str) -> Observed | None:
        """The facts of a finished point; None while it isn't finished. Raises NotWhole where they aren't
        whole, and where they are gone, but the samples that were written before them are there."""
        folder = self.point(point_id)
        try:
            return read_record(folder / "observed.json", Observed.model_validate_json)
        except Absent:
            if is_there(folder / "requests.parquet"):
                raise
            return None

    def seems_finished(self, point_id: str) -> bool:
        """Whether the point has all that a finished one has. Its samples are not looked into."""
        folder = self.point(point_id)
        try:
            files = ("requests.parquet", "host.parquet", "gpu.parquet")
            return self.observed(point_id) is not None and all(is_there(folder / file) for file in files)
        except NotWhole:
            return False

    def begin_point(self, point: Point) -> Path:
        """A folder for a point, in which nothing but the point itself stands; what an earlier, killed attempt
        at it left is set aside, not lost."""
        folder = self.point(point.id)
        number = run_points.next_number(self.path, point.id)
        if folder.exists():
            folder.rename(run_points.set_aside(folder))
        folder.mkdir(parents=True)
        run_points.write_point(folder, number, point)
        return folder

    def finish_point(self, point: Point, observed: Observed) -> None:
        atomic.write_text(self.point(point.id) / "observed.json", observed.model_dump_json(indent=1))

    def write_environment(self, environment: Environment) -> None:
        atomic.write_text(self.path / "environment.json", environment.model_dump_json(indent=1))

    def write_result(self, result: RunResult) -> None:
        atomic.write_text(self.path / "result.json", result.model_dump_json(indent=1))

    def read_result(self) -> RunResult:
        """The last result. Raises NotWhole where there is none that can be read, and Later for one of a later
        harness."""
        return read_record(self.path / "result.json", RunResult.model_validate_json, 10 * record.MOST_BYTES)

    def write_models(self, models: Sequence[Model]) -> None:
        """Write what the run's points are served, that of the first point first."""
        first, *others = models
        if others:
            text = _MANY_MODELS.dump_json(tuple(others), indent=1).decode()
            atomic.write_text(self.path / "other_models.json", text)
        atomic.write_text(self.path / "model.json", first.model_dump_json(indent=1))

    def about(self, models: int) -> About:
        """What the run measured, and where, as far as its records say. `models`: how many there must be."""
        faults: list[str] = []

        def told(file: str, parsed: Callable[[bytes], _Told], what: str) -> _Told | _LastResult | None:
            try:
                return read_record(self.path / file, parsed)
            except NotWhole as fault:
                last = self._last_result()
                so = "what result.json has of it is told" if last else "it isn't told"
                faults.append(f"{fault}; {what}: {so}")
                return last

        resolved = told("scenario.json", _Resolved.model_validate_json, "the scenario's name")
        model = told("model.json", _MODEL.validate_json, "which model was measured")
        others: Sequence[Model] | _LastResult | None = ()
        if models > 1:
            others = told("other_models.json", _MANY_MODELS.validate_json, "the model in other dtypes")
        where = told("environment.json", Environment.model_validate_json, "where it was measured")
        first = model.model if isinstance(model, _LastResult) else model
        more = others.other_models if isinstance(others, _LastResult) else others
        return About(
            scenario=self.run_id if resolved is None else _name(resolved),
            models=(*(() if first is None else (first,)), *(more or ())),
            environment=where.environment if isinstance(where, _LastResult) else where,
            faults=tuple(faults),
        )

    @property
    def tells_models(self) -> bool:
        """Whether `model.json` is whole."""
        try:
            read_record(self.path / "model.json", _MODEL.validate_json)
        except NotWhole:
            return False
        return True

    def _last_result(self) -> _LastResult | None:
        """None where there is no result that can be read."""
        try:
            content = read_whole(self.path / "result.json", MOST_RESULT_BYTES)
            last = _LastResult.model_validate_json(content)
        except (InputError, ValueError):
            return None
        return last if record.possible(last) else None

    def read_scenario(self) -> StoredScenario:
        """The scenario as it was resolved when the run began. Raises NotWhole where it can't be read."""
        stored = self._resolved()
        try:
            scenario = Scenario.model_validate_json(json.dumps(stored.scenario))
        except ValueError as error:
            why = "this harness doesn't understand the scenario in it"
            raise whole.damaged(self.path / "scenario.json", why) from error
        try:
            text = read_whole(self.path / "scenario.yaml").decode()
        except (NotWhole, ValueError):
            text = None
        return StoredScenario(stored.name, Path(stored.folder), text, scenario)

    def _resolved(self) -> _Resolved:
        file = self.path / "scenario.json"
        if not any(is_there(self.path / name) for name in ("scenario.json", "run.json", "points")):
            raise InputError(
                f"{self.path} isn't a run's folder: name one under results/ that `harness run` made"
            )
        return read_record(file, _Resolved.model_validate_json)

    @property
    def begun_here(self) -> bool:
        """Whether this user's harness began the run, with the scenario that now lies in it. Raises NotWhole
        where that can't be told because a file can't be read."""
        try:
            given = read_whole(self.path / "scenario.seal", 1000)
            return hmac.compare_digest(given, self._seal().encode())
        except Absent:
            return False

    def _seal(self) -> str:
        return seal(*(read_whole(self.path / name) for name in _SEALED))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second harness writes into it. The lock ends with the process."""
        try:
            held = open_plain(self.path / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise NotWritable(
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


def _name(resolved: _Resolved | _LastResult) -> str:
    return resolved.scenario if isinstance(resolved, _LastResult) else resolved.name


def create_run(results: Path, loaded: LoadedScenario, *, one_after_another: bool = False) -> RunFolder:
    """A new folder under `results`, named by time and scenario, with the scenario in it.

    `one_after_another`: not the scenario but the caller says which points the run has, by beginning them, and
    `RunFolder.end` that it has no more.
    """
    return begin_run(dated_folder(results, loaded.name), loaded, one_after_another=one_after_another)


def slug(name: str, most: int = 60) -> str:
    """A scenario's name as that of a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:most] or "scenario"


def dated_folder(results: Path, name: str) -> Path:
    """An empty folder under `results`, named by time and `name`. Raises HarnessError where it can't be
    made."""
    begun, short = stamp(), slug(name)
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        path = results / f"{begun}-{short}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise HarnessError(
                f"{path} can't be made ({error.strerror}): choose another folder with --results"
            ) from error
        return path.resolve()
    raise HarnessError(f"a hundred runs of {short} began in one second in {results}: wait a second")


def begin_run(path: Path, loaded: LoadedScenario, *, one_after_another: bool = False) -> RunFolder:
    """A run in `path`, an empty folder; `one_after_another` as in `create_run`."""
    folder = RunFolder(path.resolve())
    atomic.write_text(path / "scenario.yaml", loaded.text)
    resolved = {
        "schema_version": record.FORMAT,
        "name": loaded.name,
        "folder": str(loaded.folder),
        "scenario": loaded.scenario.model_dump(mode="json", exclude_none=True),
    }
    atomic.write_text(path / "scenario.json", json.dumps(resolved, indent=1))
    atomic.write_text(path / "scenario.seal", folder._seal())
    run_points.write_planned(path, None if one_after_another else [point.id for point in loaded.points])
    return folder


def open_run(path: Path) -> RunFolder:
    """An earlier run's folder. Raises InputError where there is none, and where what lies in it leads out."""
    try:
        if not path.is_dir():
            raise InputError(f"{path} is no folder: name a run under results/")
        folder = RunFolder(path.resolve())
        _check_plain(folder.path, _POINT_DEPTH)
    except OSError as error:
        raise whole.unreadable(path, error) from error
    return folder


def latest_unfinished(results: Path, scenario: Path | None, say: Callable[[str], None]) -> RunFolder:
    """The newest run under `results` with planned points missing, of `scenario` where given.

    One that can't be read is passed over, and `say` told why. Raises InputError where there is none.
    """
    for path in sorted(results.glob("*/scenario.json"), reverse=True):
        try:
            folder = open_run(path.parent)
            begun = folder.read_scenario()
            planned = folder.points().planned
            missing = [id_ for id_ in planned or () if not folder.seems_finished(id_)]
            if missing and thinned.read(folder.path) is not None:
                continue  # it was finished
        except InputError as error:
            say(f"passed over: {error}")
            continue
        of_it = scenario is None or (begun.name, begun.folder) == (scenario.stem, scenario.resolve().parent)
        if of_it and missing:
            return folder
    of = f" of {scenario}" if scenario else ""
    raise InputError(f"{results} has no unfinished run{of}: start one with `harness run` without --resume")


def _check_plain(folder: Path, depth: int) -> None:
    """Raise InputError where there is anything but plain files and folders, so far down as harness looks.

    Raises OSError where the run's own folder can't be read; what is in one below that can't isn't looked for.
    """
    for path in folder.iterdir():
        check_plain(path, folder=True)
        if depth and path.is_dir():
            with suppress(PermissionError):
                _check_plain(path, depth - 1)
