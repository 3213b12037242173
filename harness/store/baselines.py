"""`results/baselines/<scenario>/<time>/`: builds that later ones are compared with, above all the newest; and
`results/references/<scenario>/<time>/`: builds that all of a scenario's nights are measured beside.

Each folder has `baseline.json`, and beside it what the build's models are made of, so that it can be served
again however long ago it was: nothing in it is ever changed, and a later one takes its place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import atomic
from harness.cache import file_sha256
from harness.clock import now, stamp
from harness.plain_text import quoted, written
from harness.schema.errors import HarnessError, InputError
from harness.schema.history_result import SkippedFolder
from harness.schema.model import Model, ModelArtifact
from harness.schema.night_result import Baseline
from harness.schema.result import Environment
from harness.schema.scenario import Dtype, Scenario
from harness.schema.served_model import ServedModel
from harness.store import whole
from harness.store.record import read_record
from harness.store.run_folder import slug
from harness.store.scenario_file import LoadedScenario
from harness.version import version

NAME = "baseline.json"
REPOSITORY = "repository"

Kind = Literal["baselines", "references"]
"""What a build is kept as."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A baseline that can be served."""

    folder: Path
    baseline: Baseline
    scenario: Scenario
    """Its build's: how it is served. What it asks for besides is today's."""
    models: Mapping[Dtype | None, Model]

    @property
    def repository(self) -> Path | None:
        """The model repository that its models are served from; None of exports."""
        served = any(isinstance(model, ServedModel) for model in self.models.values())
        return self.folder / REPOSITORY if served else None


def newest(results: Path, scenario: str, kind: Kind = "baselines") -> Kept | None:
    """The baseline of a scenario; None where there is none. Raises NotWhole where it isn't whole: an earlier
    one in its place would make alarms of what was accepted since."""
    files = sorted(_place(results, scenario, kind).glob("*/"), reverse=True)
    return _read(files[0]) if files else None


def accepted(results: Path) -> tuple[tuple[Baseline, ...], tuple[SkippedFolder, ...]]:
    """Every baseline of every scenario, the earliest first, and those that can't be read. Whether one can be
    served isn't looked at."""
    found, skipped = list[Baseline](), list[SkippedFolder]()
    for file in sorted((results / "baselines").glob(f"*/*/{NAME}")):
        try:
            found.append(read_record(file, Baseline.model_validate_json))
        except InputError as why:
            skipped.append(SkippedFolder(folder=written(file.parent), why=quoted(str(why))))
    return tuple(sorted(found, key=lambda each: each.accepted_at)), tuple(skipped)


def keep(
    results: Path,
    loaded: LoadedScenario,
    models: Mapping[Dtype | None, Model],
    *,
    repository: Path | None = None,
    reason: str,
    night: str | None,
    environment: Environment | None,
    reference_of: str | None = None,
) -> Kept:
    """Make a build the baseline of its scenario, or the reference of another. `repository`: where models are
    that nobody exported. Raises HarnessError where it can't be written."""
    scenario = reference_of or loaded.name
    place = _place(results, scenario, "references" if reference_of else "baselines")
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder = _free(place)
        with atomic.new_folder(folder) as made:
            kept: list[Model] = []
            for number, model in enumerate(models.values()):
                if isinstance(model, ModelArtifact):
                    kept.append(_copied(model, made, number))
                else:
                    assert repository is not None, "its files can be seen"
                    _copy_served(model, repository, made / REPOSITORY)
                    kept.append(model)
            baseline = Baseline(
                scenario=scenario,
                accepted_at=now(),
                reason=reason,
                night=night,
                harness_version=version(),
                resolved=loaded.scenario.model_dump(mode="json", exclude_none=True),
                models=tuple(kept),
                environment=environment,
            )
            (made / "scenario.yaml").write_text(loaded.text)
            (made / NAME).write_text(baseline.model_dump_json(indent=1))
    except OSError as error:
        raise HarnessError(
            f"the build can't be kept in {place} ({error.strerror or error}): make room, or give "
            "--results a folder that you can write"
        ) from error
    return _read(folder)


def _place(results: Path, scenario: str, kind: Kind) -> Path:
    return results / kind / slug(scenario, most=100)


def _free(place: Path) -> Path:
    """Its name is later than those of the others, be the clock set back or not."""
    latest = max((path.name for path in place.iterdir()), default="")
    name = stamp()
    if name <= latest:
        before, _, number = latest.partition("-")
        name = f"{before}-{int(number or 1) + 1:04}"
    return place / name


def _copied(model: ModelArtifact, folder: Path, number: int) -> ModelArtifact:
    """The model's file, with what else stands beside it and belongs to it."""
    file = Path(model.onnx_path)
    shutil.copytree(file.parent, folder / f"model-{number}")
    return model.model_copy(update={"onnx_path": f"model-{number}/{file.name}"})


def _copy_served(model: ServedModel, repository: Path, to: Path) -> None:
    """The folders of the models that are asked, and of those that work for them: all, where one of them may
    ask any other."""
    named = {name for each in model.asked for name in (each.name, *each.composing)}
    any_other = any(each.asks_others and not each.composing for each in model.asked)
    for folder in sorted(repository.iterdir()):
        if folder.is_dir() and (any_other or folder.name in named):
            shutil.copytree(folder, to / folder.name, ignore=shutil.ignore_patterns("__pycache__"))


def _read(folder: Path) -> Kept:
    """Raises NotWhole."""
    file = folder / NAME
    baseline = read_record(file, Baseline.model_validate_json)
    try:
        scenario = Scenario.model_validate_json(json.dumps(baseline.resolved))
    except ValueError as error:
        raise whole.damaged(file, "this harness doesn't understand the scenario in it") from error
    models: dict[Dtype | None, Model] = {}
    for model in baseline.models:
        if isinstance(model, ServedModel):
            _check_served(folder / REPOSITORY, model)
            models[None] = model
            continue
        onnx = folder / model.onnx_path
        if not onnx.is_file() or onnx.resolve().parent.parent != folder.resolve():
            raise whole.missing(onnx)
        if file_sha256(onnx) != model.sha256:
            raise whole.damaged(onnx, "it isn't the model that was accepted")
        models[model.dtype] = model.model_copy(update={"onnx_path": str(onnx.resolve())})
    return Kept(folder, baseline, scenario, models)


def _check_served(repository: Path, model: ServedModel) -> None:
    """Raises NotWhole where a file of it isn't the one that was accepted."""
    for each in model.asked:
        for name, sha256 in (each.files or {}).items():
            file = repository / name
            if not file.resolve().is_relative_to(repository.resolve()) or not file.is_file():
                raise whole.missing(file)
            if file_sha256(file) != sha256:
                raise whole.damaged(file, "it isn't the model that was accepted")
