"""`harness ab --bisect` on a real repository: the first commit whose build is worse."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.commands.bisecting.commit_build import Repository, built
from harness.store.scenario_file import load_scenario
from tests.e2e.conftest import Workplace
from tests.e2e.test_ab import AB
from tests.triton.models import slow

WHO = ("-c", "user.name=someone", "-c", "user.email=someone@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *WHO, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(workplace: Workplace) -> Path:
    """With a hook that would leave a file, were it run."""
    folder = workplace.path / "code"
    (folder / "serving").mkdir(parents=True)
    git(folder, "init", "-q")
    for name in ("post-checkout", "post-index-change"):
        hook = folder / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {folder}/hook-ran\n")
        hook.chmod(0o755)
    (folder / ".gitignore").write_text("results\nhook-ran\n")
    (folder / "serving" / "models.yaml").write_text(AB)
    slow(folder / "serving", steps=2)
    return folder


@pytest.mark.alone  # beside others it isn't told which part moved: the rounds end when p50 is worse
def test_the_first_bad_commit_is_found_and_named(workplace: Workplace, repository: Path) -> None:
    good = commit(repository, "two layers")
    (repository / "README").write_text("a model")
    commit(repository, "a readme")
    (repository / "serving" / "slow.onnx").unlink()
    slow(repository / "serving", steps=6)
    bad = commit(repository, "\x1b[31mthree times the layers")
    (repository / "README").write_text("a slow model")
    commit(repository, "another readme")
    (repository / "serving" / "models.yaml").write_text(AB + "# changed, not committed\n")
    status = git(repository, "--no-optional-locks", "status", "--porcelain")
    (repository / "hook-ran").unlink(missing_ok=True)
    done = workplace.run("ab", "code/serving/models.yaml", "--bisect", f"{good}..HEAD")
    assert done.code == 1, f"{done.stdout}{done.stderr}"
    assert f"first bad commit: {bad[:12]} \\x1b[31mthree times the layers" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "moved: compute +" in done.stdout
    assert "3 commits: at most 3 comparisons, and 3 minutes" in done.stderr
    (folder,) = workplace.runs
    found = json.loads((folder / "bisect.json").read_text())
    assert found["schema_version"] == 1 and found["outcome"] == "found" and found["finished_at"]
    assert [each["sha"] for each in found["suspects"]] == [bad]
    assert [(each["judgement"], each["comparison"] is not None) for each in found["steps"]] == [
        ("bad", True),
        ("good", False),
        ("bad", True),
    ], "equal builds are judged once"
    assert (folder / found["steps"][0]["comparison"] / "ab.html").is_file()
    assert git(repository, "--no-optional-locks", "status", "--porcelain") == status, (
        "the user's files stay as they are"
    )
    assert not (repository / "hook-ran").exists() and git(repository, "worktree", "list").count("\n") == 0


def test_what_cannot_be_searched_is_one_sentence(workplace: Workplace, repository: Path) -> None:
    first, second = commit(repository, "two layers"), commit(repository, "nothing")
    (repository / "serving" / "slow.onnx").unlink()
    without = commit(repository, "no model")
    slow(repository / "serving", steps=2)
    outside = workplace.scenario(AB)
    slow(workplace.path, steps=2)
    for arguments, said in (
        (("--bisect", "HEAD"), "isn't GOOD..BAD"),
        (("--bisect", f"nothing..{first}"), "has no commit 'nothing'"),
        (("--bisect", f"--output=x..{first}"), "has no commit '--output=x'"),
        (("--bisect", f"{second}..{first}"), "doesn't follow from"),
        (("--bisect", f"{without}..HEAD"), "doesn't follow from"),
        (("code/serving/models.yaml", "--bisect", f"{first}..{second}"), "leave out CANDIDATE"),
    ):
        done = workplace.run("ab", "code/serving/models.yaml", *arguments)
        assert done.code == 2 and said in done.stderr, f"{arguments}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr and workplace.runs == []
    done = workplace.run("ab", outside, "--bisect", f"{first}..{second}")
    assert done.code == 2 and "is in no git repository" in done.stderr, done.stderr
    commit(repository, "the model again")
    done = workplace.run("ab", "code/serving/models.yaml", "--bisect", f"{without}..HEAD")
    assert done.code == 2 and f"the good commit {without[:12]} can't be built" in done.stderr, done.stderr
    done = workplace.run("ab", "code/serving/models.yaml", "--bisect", f"{first}..HEAD")
    assert done.code == 0 and "byte by byte" in done.stdout and "isn't worse than" in done.stdout, done.stderr
    done = workplace.run("ab", "code/serving/models.yaml", "--bisect", f"{first}..{without}")
    assert done.code == 3 and "it can't be built" in done.stdout and "can't be told" in done.stdout, (
        done.stderr
    )


FACTORY = """\
import torch

from harness.model import Input, TorchModel
from size import SIZE


class Scale(torch.nn.Module):
    def forward(self, x):
        return x * SIZE


def make():
    return TorchModel(Scale(), (Input("x", "FP32", ("batch", 4)),))
"""


def test_a_torch_module_is_the_commits_and_not_todays(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its modules, and those that they import."""
    code = repository / "serving"
    (code / "model.py").write_text(FACTORY)
    (code / "size.py").write_text("SIZE = 2.0\n")
    (code / "models.yaml").write_text(
        "model: model:make\nrequests:\n  - {name: one, axes: {}}\nload: {concurrency: 1}\n"
    )
    first = commit(repository, "twice")
    (code / "size.py").write_text("SIZE = 3.0\n")
    commit(repository, "three times")
    (code / "size.py").write_text("raise RuntimeError('today')\n")
    monkeypatch.chdir(code)
    loaded, of = load_scenario(code / "models.yaml"), Repository.of(code)
    built_first, built_last = (built(of.commit(name), of, loaded) for name in (first, "HEAD"))
    assert not isinstance(built_first, str) and not isinstance(built_last, str), (built_first, built_last)
    assert built_first[None].sha256 != built_last[None].sha256
    monkeypatch.syspath_prepend(str(code))
    (code / "size.py").write_text("SIZE = 5.0\n")
    again = built(of.commit(first), of, loaded)
    assert not isinstance(again, str) and again[None].sha256 == built_first[None].sha256
