"""A model that a function makes can do what it likes, but neither end harness nor pass for another module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model.check import file_to_run, runs_code
from harness.model.export import export
from harness.model.factory import Factory
from harness.probe.reader.reader_process import ReaderProcess
from harness.schema.errors import InputError
from tests.model.zoo import linear

pytestmark = pytest.mark.usefixtures("empty_cache")

HERE = Path(__file__).parent

RUN = """\
model: {model}
requests: [{{name: a}}]
load: {{concurrency: 1}}
"""


def exported(name: str) -> None:
    export(f"tests.model.naughty:{name}", base_dir=HERE, progress=lambda _: None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", "the factory raised SystemExit: 0; call it in Python"),
        ("raises_what_no_except_catches", "the factory raised GeneratorExit: out of the way"),
        ("exits_in_eval", "the factory raised SystemExit"),
        ("of_the_wrong_types", "the factory raised TypeError"),
        ("exits_when_looked_at", "its module raised SystemExit: 0: mend the module"),
        ("exits_in_forward", r"the module itself fails on x \[2, 8\] \(SystemExit: 0\)"),
        ("exits_while_it_is_traced", "torch can't export .*SystemExit: 0"),
    ],
)
def test_a_model_that_would_end_harness_is_the_models_fault(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        exported(name)
    assert "\n" not in str(raised.value)


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt):
        exported("interrupts")


@pytest.mark.parametrize("model", ["sys:exit", "os:abort", "os:getcwd", "json:loads"])
def test_what_pythons_own_modules_have_is_no_model(model: str) -> None:
    with pytest.raises(InputError, match="is Python's own, and has no function"):
        Factory(model, HERE).load()


def test_what_a_factory_prints_goes_to_stderr_and_the_output_is_as_it_was_afterwards(
    capfd: pytest.CaptureFixture[str],
) -> None:
    Factory("tests.model.naughty:prints", HERE).load()
    print("the document")
    out, err = capfd.readouterr()
    assert out == "the document\n"
    assert sorted(err.splitlines()) == ["by the descriptor", "loading the weights"]


def test_a_factory_cannot_take_the_output_away(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    Factory("tests.model.naughty:takes_the_output_away", HERE).load()
    assert (sys.stdout, sys.stderr) == before
    print("the document")
    os.write(1, b"as a child does\n")
    sys.stdout.flush()
    assert sorted(capfd.readouterr().out.splitlines()) == ["as a child does", "the document"]


def test_nothing_beside_the_scenario_passes_for_what_harness_itself_imports(tmp_path: Path) -> None:
    for name in ("json", "psutil", "onnxruntime", "numpy", "locust", "pip", "yaml"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')")
    (tmp_path / "ours.py").write_text("import json, numpy, onnxruntime, psutil, yaml\n" + LINEAR)
    assert type(Factory("ours:make", tmp_path).load().module) is type(linear().module.layer)
    assert not (tmp_path / "ran").exists()


LINEAR = """\
from harness.model import Input, TorchModel
import torch

def make():
    return TorchModel(torch.nn.Linear(8, 3), (Input("x", "FP32", ("batch", 8)),))
"""


def test_which_file_will_be_executed_is_known_before_it_is(tmp_path: Path) -> None:
    package = tmp_path / "pack_of_ours"
    (package / "inner").mkdir(parents=True)
    ran = tmp_path / "ran"
    for file in (tmp_path / "alone_of_ours.py", package / "inner" / "deep.py"):
        file.write_text(f"open({str(ran)!r}, 'w')\n" + LINEAR)
    for model, first in (
        ("alone_of_ours:make", tmp_path / "alone_of_ours.py"),
        ("pack_of_ours.inner.deep:make", package / "inner" / "deep.py"),
    ):
        assert file_to_run(model, base_dir=tmp_path) == first and not ran.exists()
    (package / "__init__.py").write_text(f"open({str(ran)!r}, 'w')\n")
    assert file_to_run("pack_of_ours.inner.deep:make", base_dir=tmp_path) == package / "__init__.py"
    assert not ran.exists()
    assert file_to_run("nowhere_at_all:make", base_dir=tmp_path) is None
    assert file_to_run("tests.model.naughty:prints", base_dir=tmp_path) is None, "it was executed before"
    assert runs_code("alone_of_ours:make") and not runs_code("minilm") and not runs_code("a.onnx")


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_dry_run_executes_nothing_and_says_what_it_did_not_check(tmp_path: Path) -> None:
    (tmp_path / "touches.py").write_text("open('ran', 'w')\n" + LINEAR)
    (tmp_path / "s.yaml").write_text(RUN.format(model="touches:make"))
    done = harness(tmp_path, "run", "s.yaml", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert "was not checked" in json.loads(done.stdout)["unchecked"]
    assert not (tmp_path / "ran").exists()


def test_a_factory_that_ends_the_process_is_bad_input_and_was_announced(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nprint('all is well')\nsys.exit(0)\n")
    (tmp_path / "s.yaml").write_text(RUN.format(model="leaves:make"))
    done = harness(tmp_path, "run", "s.yaml", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    announced, *_, last = done.stderr.splitlines()
    assert announced == f"running {tmp_path / 'leaves.py'}, for it makes the model leaves:make"
    assert "importing leaves raised SystemExit: 0" in last and "Traceback" not in done.stderr


def test_no_process_that_harness_starts_takes_modules_from_the_folder_it_was_called_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    reader = ReaderProcess(tmp_path / "spool")
    reader.wait_for_hello(30)
    reader.end()
    assert not (tmp_path / "ran").exists()
