"""Builds that are kept: what comes back is what was accepted, or it is said what isn't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.schema.errors import HarnessError
from harness.schema.served_model import ServedModel
from harness.store import baselines
from harness.store.scenario_file import LoadedScenario, load_scenario
from harness.store.whole import NotWhole
from tests.triton.models import double

SCENARIO = """\
model: double.onnx
server: {max_batch: 8}
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: 1}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedScenario:
    (tmp_path / "one.yaml").write_text(SCENARIO)
    return load_scenario(tmp_path / "one.yaml")


def kept(place: Path, loaded: LoadedScenario, reason: str = "why not") -> baselines.Kept:
    source = place / "model"
    source.mkdir(exist_ok=True)
    models = {None: double(source)}
    return baselines.keep(place / "results", loaded, models, reason=reason, night=None, environment=None)


def test_what_was_accepted_comes_back(tmp_path: Path, loaded: LoadedScenario) -> None:
    assert baselines.newest(tmp_path / "results", "one") is None
    first = kept(tmp_path, loaded)
    found = baselines.newest(tmp_path / "results", "one")
    assert found == first and found is not None
    assert found.scenario.server == loaded.scenario.server and found.baseline.reason == "why not"
    (model,) = found.models.values()
    assert Path(model.onnx_path).is_relative_to(found.folder)
    assert Path(model.onnx_path).read_bytes() == (tmp_path / "model" / "double.onnx").read_bytes()
    assert baselines.newest(tmp_path / "results", "another") is None


def served(name: str, platform: str = "python", **more: Any) -> ServedModel:
    config = {"backend": platform} if platform == "python" else {}
    known = {"name": name, "version": None, "versions": ("1",), "source": "", "platform": platform}
    digests = {"config": config, "config_sha256": "", "sha256": name}
    return ServedModel.model_validate(known | digests | {"inputs": (), "outputs": (), "max_batch": 0} | more)


@pytest.mark.parametrize(
    ("beside", "there"),
    [
        (served("other", "onnxruntime_onnx"), {"first", "other"}),
        (served("both", "ensemble", composing=("left", "right")), {"first", "both", "left", "right"}),
        (served("asks"), {"first", "other", "both", "left", "right", "asks"}),
    ],
)
def test_whatever_works_for_the_models_of_a_repository_is_kept_with_them(
    tmp_path: Path, loaded: LoadedScenario, beside: ServedModel, there: set[str]
) -> None:
    repository = tmp_path / "theirs"
    for name in ("first", "other", "both", "left", "right", "asks"):
        (repository / name).mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(name)
    models = {None: served("first", "onnxruntime_onnx", beside=(beside,))}
    place = tmp_path / "results"
    found = baselines.keep(
        place, loaded, models, repository=repository, reason="why not", night=None, environment=None
    )
    assert found.repository is not None
    assert {folder.name for folder in found.repository.iterdir()} == there


def test_the_newest_is_the_one_that_was_accepted_last_whatever_the_clock(
    tmp_path: Path, loaded: LoadedScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, clock in enumerate(["20300101T000000Z", "20300101T000000Z", "20200101T000000Z"]):
        monkeypatch.setattr(baselines, "stamp", lambda clock=clock: clock)
        kept(tmp_path, loaded, str(number))
        found = baselines.newest(tmp_path / "results", "one")
        assert found is not None and found.baseline.reason == str(number)
    assert len(list((tmp_path / "results" / "baselines" / "one").iterdir())) == 3


@pytest.mark.parametrize("path", ["../../elsewhere.onnx", "/etc/hostname", "model-0/../../../x", "link/x"])
def test_a_record_that_leads_out_of_its_folder_is_refused(
    tmp_path: Path, loaded: LoadedScenario, path: str
) -> None:
    folder = kept(tmp_path, loaded).folder
    (folder / "link").symlink_to(tmp_path / "model")
    (tmp_path / "model" / "x").write_bytes((tmp_path / "model" / "double.onnx").read_bytes())
    record = json.loads((folder / "baseline.json").read_text())
    record["models"][0]["onnx_path"] = path
    (folder / "baseline.json").write_text(json.dumps(record))
    with pytest.raises(NotWhole):
        baselines.newest(tmp_path / "results", "one")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "baseline.json").write_text("{}"),
        lambda folder: (folder / "baseline.json").unlink(),
        lambda folder: next(folder.glob("model-0/*.onnx")).unlink(),
        lambda folder: next(folder.glob("model-0/*.onnx")).write_bytes(b"other"),
        lambda folder: (folder / "baseline.json").write_text(
            (folder / "baseline.json").read_text().replace('"schema_version": 1', '"schema_version": 3')
        ),
    ],
)
def test_one_that_is_not_whole_is_named_and_no_other_takes_its_place(
    tmp_path: Path, loaded: LoadedScenario, spoil
) -> None:
    kept(tmp_path, loaded, "the one before")
    spoil(kept(tmp_path, loaded).folder)
    with pytest.raises(HarnessError):
        baselines.newest(tmp_path / "results", "one")


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path, loaded: LoadedScenario) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(HarnessError, match="the build can't be kept in"):
        kept(tmp_path, loaded)
