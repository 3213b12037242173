"""`results/<run>/`: what a run leaves on disk, each file whole or not there at all.

    scenario.yaml      the file the user gave, as it was
    scenario.json      what it meant: overrides applied, defaults filled in
    model.json         what was exported and proven, or taken as it is
    other_models.json  the same in other dtypes, where points name several
    environment.json   where it was measured
    result.json        RunResult, made of all of these and rewritten after each point
    points/<id>/       requests.parquet, host.parquet, gpu.parquet, observed.json, load.log, …
    server.log, report.html, summary.md, perf_analyzer-*.csv

A point is finished when its `observed.json` is there: it is written last, after the samples.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness.schema.errors import HarnessError, InputError
from harness.schema.model import ModelArtifact
from harness.schema.observed import Observed
from harness.schema.point import Point, expand
from harness.schema.result import Environment, RunResult
from harness.schema.scenario import Scenario
from harness.store import atomic
from harness.store.scenario_file import LoadedScenario

_Record = TypeVar("_Record", bound=BaseModel)
_Content = TypeVar("_Content")
_FILES: dict[type[BaseModel], str] = {Environment: "environment.json", RunResult: "result.json"}
_MANY_MODELS = TypeAdapter(tuple[ModelArtifact, ...])


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

    def observed(self, point_id: str) -> Observed | None:
        """The facts of a finished point; None while it isn't finished."""
        file = self.point(point_id) / "observed.json"
        return _read(file, Observed.model_validate_json) if file.exists() else None

    def begin_point(self, point: Point) -> Path:
        """An empty folder for a point; what an earlier, killed attempt at it left is set aside, not lost."""
        folder = self.point(point.id)
        if folder.exists():
            attempt = 1
            while (aside := folder.with_name(f"{folder.name}.unfinished-{attempt}")).exists():
                attempt += 1
            folder.rename(aside)
        folder.mkdir(parents=True)
        return folder

    def finish_point(self, point: Point, observed: Observed) -> None:
        atomic.write_text(self.point(point.id) / "observed.json", observed.model_dump_json(indent=1))

    def write(self, record: Environment | RunResult) -> None:
        """Write one of the run's own records to its file."""
        atomic.write_text(self.path / _FILES[type(record)], record.model_dump_json(indent=1))

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
        more = _read(others, _MANY_MODELS.validate_json) if others.exists() else ()
        return (_read(first, ModelArtifact.model_validate_json), *more)

    def read(self, kind: type[_Record]) -> _Record | None:
        """One of the run's own records; None while it wasn't written."""
        file = self.path / _FILES[kind]
        return _read(file, kind.model_validate_json) if file.exists() else None

    def read_scenario(self) -> LoadedScenario:
        """The scenario as it was resolved when the run began."""
        file = self.path / "scenario.json"
        if not file.exists():
            raise InputError(
                f"{self.path} isn't a run's folder: name one under results/ that `harness run` made"
            )
        stored = json.loads(file.read_text())
        scenario = Scenario.model_validate_json(json.dumps(stored["scenario"]))
        text = (self.path / "scenario.yaml").read_text(encoding="utf-8")
        return LoadedScenario(stored["name"], Path(stored["folder"]), text, scenario, expand(scenario))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second harness writes into it. The lock ends with the process."""
        with (self.path / ".lock").open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(
                    f"another harness writes to {self.path}: wait until it ends, or start another run"
                ) from error
            yield


def create_run(results: Path, loaded: LoadedScenario) -> RunFolder:
    """A new folder under `results`, named by time and scenario, with the scenario in it."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", loaded.name)[:60] or "scenario"
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        path = results / f"{stamp}-{slug}{suffix}"
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
        return folder
    raise HarnessError(f"a hundred runs of {slug} began in one second in {results}: wait a second")


def open_run(path: Path) -> RunFolder:
    """An earlier run's folder. Raises InputError where there is none."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder: name a run under results/")
    return RunFolder(path.resolve())


def latest_unfinished(results: Path, scenario: Path | None) -> RunFolder:
    """The newest run under `results` with points missing, of `scenario` where given. Raises InputError."""
    for path in sorted(results.glob("*/scenario.json"), reverse=True):
        folder = RunFolder(path.parent.resolve())
        loaded = folder.read_scenario()
        of_it = scenario is None or (loaded.name, loaded.folder) == (scenario.stem, scenario.resolve().parent)
        if of_it and any(folder.observed(p.id) is None for p in loaded.points):
            return folder
    of = f" of {scenario}" if scenario else ""
    raise InputError(f"{results} has no unfinished run{of}: start one with `harness run` without --resume")


def _read(file: Path, parsed: Callable[[str], _Content]) -> _Content:
    try:
        return parsed(file.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} isn't a file this version of harness wrote: rebuild it with the version in result.json"
        ) from error
