"""Files beside a scenario that are named as packages are: none of them is ever executed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Workplace, valid
from tests.e2e.test_probe import IDLE
from tests.nvml import NvmlDouble

NAMES = (
    *("onnxruntime", "psutil", "pip", "pynvml", "numpy", "locust", "gevent", "tritonclient", "pydantic"),
    *("torch", "json", "socket", "subprocess", "logging", "sitecustomize", "usercustomize", "harness"),
)
ONE = """\
model: double.onnx
requests:
  - {name: small, axes: {n: 16}}
load: {concurrency: 1, workers: 2}
measure: {warmup_s: 0.2, duration_s: 1}
validity: {foreign_cpu: 1, stolen_cpu: 1, client_cpu: 1, idle_users: 1, drift: 1000}
"""


@pytest.fixture
def littered(workplace: Workplace) -> Workplace:
    """Each of them notes that it ran, and ends whoever imports it."""
    workplace.program = [str(Path(sys.executable).with_name("harness"))]
    for name in NAMES:
        lines = f"open({str(workplace.path / 'ran')!r}, 'a').write({name!r} + ' ')\nraise SystemExit(99)\n"
        (workplace.path / f"{name}.py").write_text(lines)
    return workplace


def assert_none_ran(workplace: Workplace) -> None:
    ran = workplace.path / "ran"
    assert not ran.exists(), ran.read_text()


@pytest.mark.triton
def test_a_run_executes_none(littered: Workplace, nvml_double: NvmlDouble) -> None:
    littered.env.update(nvml_double(IDLE))
    done = littered.run("run", littered.scenario(ONE), "--set", "server.kind=cpu", "--json")
    assert_none_ran(littered)
    assert valid(done)["points"][0]["requests"] > 0


@pytest.mark.parametrize("command", [("doctor",), ("probe",), ("models",), ("export", "double.onnx")])
def test_no_command_executes_one(
    littered: Workplace, nvml_double: NvmlDouble, command: tuple[str, ...]
) -> None:
    littered.env.update(nvml_double())
    done = littered.run(*command, "--json")
    assert_none_ran(littered)
    assert done.code == 0 and done.stdout.startswith("{"), done.stderr


def test_nor_does_python_m_harness(littered: Workplace) -> None:
    for name in ("json", "socket", "subprocess", "logging", "harness", "sitecustomize", "usercustomize"):
        (littered.path / f"{name}.py").unlink()  # Python's own start, and what names harness itself
    littered.program = [sys.executable, "-m", "harness"]
    done = littered.run("doctor", "--json")
    assert_none_ran(littered)
    assert done.stdout.startswith("{"), done.stderr


def test_nor_does_the_download_of_a_wheel(littered: Workplace) -> None:
    wanted = "Wheel('no-such-wheel-of-harness', '0', sha256='0' * 64, megabytes=1)"
    script = (
        "from pathlib import Path; from harness.cache import Wheel, _download\n"
        f"_download({wanted}, Path('.'))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=littered.path, capture_output=True, text=True, check=False
    )
    assert_none_ran(littered)
    assert "could not be downloaded: pip says" in done.stderr


def test_every_python_that_harness_starts_is_started_in_one_way() -> None:
    """A new one must not forget it."""
    package = Path(__file__).parents[2] / "harness"
    files = (file for file in package.rglob("*.py") if "sys.executable" in file.read_text())
    named = {str(file.relative_to(package)) for file in files}
    start_none = {"cli.py", "triton/embedded.py", "commands/doctor.py", "load/process/forked.py"}
    name_it_in_a_file = {"commands/schedule.py"}
    assert named == {"interpreter.py", *start_none, *name_it_in_a_file}
