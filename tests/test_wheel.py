"""What somebody has who installs the wheel, without torch and onnx, and works in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import AS_TINY, ONE, Workplace, served, valid
from tests.e2e.conftest import tiny_model as tiny_model
from tests.e2e.conftest import workplace as workplace
from tests.triton import their_models

ROOT = Path(__file__).parents[1]
pytest.importorskip("setuptools_scm", reason="it takes setuptools-scm to build the wheel")

ABSENT = (
    "torch",
    "onnx-",
    "onnxscript",
    "transformers",
    "safetensors",
    "tokenizers",
    "harness",
    "__editable__",
)
SHORT = tuple(
    word
    for setting in (
        "load={concurrency: 2}",
        "measure={warmup_s: 0.1, duration_s: 0.5, at_most_s: 15, precision: {p50: 0.9}}",
        "validity={foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}",
    )
    for word in ("--set", setting)
)
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def files_of_harness() -> list[str]:
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no clone")
    kept = ("harness/", "scenarios/", "pyproject.toml", "setup.py", "README.md", ".git_archival.txt")
    return [name for name in done.stdout.splitlines() if name.startswith(kept) and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `python` of an environment with the wheel, and with what it can't do without."""
    source = tmp_path_factory.mktemp("source")
    for name in files_of_harness():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, check=True, capture_output=True)
    (wheel,) = out.glob("harness-*.whl")
    environment = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    for folder in {sysconfig.get_path("purelib"), *filter(lambda p: p.endswith("site-packages"), sys.path)}:
        for entry in Path(folder).iterdir():
            is_onnx = entry.name in ("onnx", "a.pth")
            if not (entry.name.startswith(ABSENT) or is_onnx or (site / entry.name).exists()):
                (site / entry.name).symlink_to(entry)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return environment / "bin" / "python"


@pytest.fixture
def there(installed: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Somewhere else than in a clone, with that environment."""
    monkeypatch.setenv("PYTHONPATH", "")
    workplace.program = [str(installed), "-m", "harness"]
    return workplace


def test_it_says_which_harness_it_is_and_lacks_what_it_should(there: Workplace) -> None:
    script = (
        "import harness, importlib.util as u; print(harness.__file__, harness.__version__, "
        "u.find_spec('torch'), u.find_spec('onnx'))"
    )
    done = subprocess.run([*there.program[:1], "-c", script], cwd=there.path, capture_output=True, text=True)
    file, version, *found = done.stdout.split()
    assert "site-packages" in file and version.startswith("0.2.0.dev0+nogit.") and found == ["None", "None"]


def test_shipped_scenarios_and_the_gpu_check_work_in_any_folder(there: Workplace) -> None:
    done = there.run("run", "scenarios/gpu-smoke.yaml", "--dry-run")
    assert done.code == 0 and "points of gpu-smoke" in done.stdout, done.stderr
    assert (
        "there is no scenarios/gpu-smoke.yaml here: the one that ships with harness is meant" in done.stderr
    )
    checked = there.run("gpu-check")
    if checked.code == 4:
        assert "there is no GPU to check here" in checked.stderr
    assert "can't be read" not in checked.stderr


def test_what_is_missing_is_named_by_the_command_that_brings_it(there: Workplace, tmp_path: Path) -> None:
    there.env = {"HARNESS_CACHE": str(tmp_path / "cache")}
    done = there.run("export", "encoder")
    assert (
        done.code == 4
        and "run `pip install 'harness[export]'` with the Python that runs harness" in done.stderr
    )
    there.env["HARNESS_CACHE"] = str(tmp_path / "cache")
    done = there.run("export", "double.onnx")
    assert done.code == 4 and "pip install 'harness[export]'" in done.stderr
    packages = there.run("doctor", "--json").document["findings"]
    (found,) = [each["found"] for each in packages if each["what"] == "packages"]
    assert "nothing can be exported: pip install 'harness[export]'" in found


@pytest.mark.triton
def test_it_measures_a_ready_export_and_a_server_that_runs(there: Workplace) -> None:
    there.program, here = [sys.executable, "-m", "harness"], there.program
    exported = there.run("export", "double.onnx", "--json").document
    there.program = here
    ready = there.path / "ready"
    shutil.copytree(Path(exported["onnx_path"]).parent, ready)
    scenario = there.scenario(ONE.replace("double.onnx", "ready/model.onnx"))
    document = valid(there.run("run", scenario, "--json"))
    assert document["model"]["parity"] == exported["parity"] and document["model"]["name"] == "double"
    with served(there, "ready/model.onnx", *AS_TINY) as (at, _):
        remote = there.run("run", scenario, "--url", at["http"], "--json")
        assert valid(remote)["environment"]["server_mode"] == "remote"
    (ready / "model.onnx").write_bytes(b"other")
    refused = there.run("run", scenario)
    assert refused.code == 2 and "is the proof of another file than model.onnx" in refused.stderr


def test_it_measures_models_that_others_made(there: Workplace) -> None:
    repository = their_models.write(there.path / "theirs")
    for model in ("every_type", "direct"):
        where = ("--model-repository", repository)
        done = there.run("init", model, *where)
        assert done.code == 0, done.stderr
        scenario = there.path / "scenarios" / f"{model}.yaml"
        found = valid(there.run("run", scenario, *where, "--json", *SHORT))
        assert found["model"]["kind"] == "served" and found["points"][0]["errors"] == 0


def test_a_shell_completes_its_commands(there: Workplace) -> None:
    asked = {"_HARNESS_COMPLETE": "complete_bash", "COMP_WORDS": "harness gpu", "COMP_CWORD": "1"}
    script = "import sys; sys.argv[0] = 'harness'; from harness.cli import main; main()"
    done = subprocess.run(
        [there.program[0], "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["gpu-check"]), done.stderr
    assert json.loads(there.run("models", "--json").stdout)["models"]
