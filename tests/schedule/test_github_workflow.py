"""The workflow: parsed, its expressions evaluated as GitHub would, and its script run by a real shell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from harness.schedule.github_workflow import workflow
from tests.schedule.nights import NAMES, ends_with, night, run


def parsed(files: dict[str, str]) -> dict[Any, Any]:
    (text,) = files.values()
    return dict(yaml.safe_load(text))


def evaluated(value: str) -> str:
    """A value with its expressions replaced: they may only be texts, in which '' is a quote."""

    def text(found: re.Match[str]) -> str:
        inner = re.fullmatch(r"\s*'((?:[^']|'')*)'\s*", found[1])
        assert inner is not None, f"{found[1]!r} is something else than a text"
        return inner[1].replace("''", "'")

    return re.sub(r"\$\{\{((?:'(?:[^']|'')*'|.)*?)\}\}", text, value)


@settings(max_examples=40)
@given(NAMES)
def test_paths_stay_what_they_are(name: str) -> None:
    tonight = night(name)
    environment = parsed(workflow(tonight))["jobs"]["nightly"]["env"]
    assert evaluated(environment["SCENARIO"]) == tonight.scenario
    assert evaluated(environment["RESULTS"]) == tonight.results
    assert evaluated(environment["HARNESS_PYTHON"]) == tonight.python


def test_a_scenario_of_the_clone_is_that_of_the_checkout() -> None:
    environment = parsed(workflow(night("x", folder="/srv/x")))["jobs"]["nightly"]["env"]
    assert environment["SCENARIO"] == "xx.yaml"


def test_it_runs_at_night_on_the_users_machine_one_at_a_time() -> None:
    found = parsed(workflow(night()))
    assert found[True] == {"schedule": [{"cron": "5 3 * * *"}], "workflow_dispatch": None}, (
        "on: is YAML's true"
    )
    assert found["concurrency"]["cancel-in-progress"] is False
    assert found["permissions"] == {"contents": "read"}
    assert "self-hosted" in found["jobs"]["nightly"]["runs-on"]


@pytest.mark.parametrize("code", range(5))
def test_an_inconclusive_night_is_no_failed_job(tmp_path: Path, code: int) -> None:
    results = tmp_path / "100% results"
    step = parsed(workflow(night()))["jobs"]["nightly"]["steps"][1]
    assert step["id"] == "nightly"
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    done = run(
        step["run"],
        tmp_path,
        HARNESS_PYTHON=str(ends_with(code, tmp_path)),
        SCENARIO="a b $HOME.yaml",
        RESULTS=str(results),
        RUNNER_TEMP=str(tmp_path),
        **files,
    )
    assert done.returncode == (0 if code == 3 else code), done.stderr
    assert "<a b $HOME.yaml>" in done.stdout.splitlines()
    (folder,) = results.iterdir()
    assert Path(files["GITHUB_OUTPUT"]).read_text() == f"folder={folder}\n"
    assert Path(files["GITHUB_STEP_SUMMARY"]).read_text() == "# a night\n"


def test_a_night_that_began_nothing_ends_the_job_with_its_code(tmp_path: Path) -> None:
    (refuses := tmp_path / "python").write_text("#!/bin/sh\nexit 2\n")
    refuses.chmod(0o755)
    step = parsed(workflow(night()))["jobs"]["nightly"]["steps"][1]
    names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RESULTS")
    places = {name: str(tmp_path / name) for name in names} | {"RUNNER_TEMP": str(tmp_path)}
    done = run(step["run"], tmp_path, HARNESS_PYTHON=str(refuses), SCENARIO="x.yaml", **places)
    assert done.returncode == 2
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "folder=\n"
    assert not (tmp_path / "GITHUB_STEP_SUMMARY").exists()
