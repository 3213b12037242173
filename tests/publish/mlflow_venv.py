"""An environment with the whole of MLflow, in the user's cache and not in that of harness, where it would
change versions. Making it takes three minutes and 0.9 GB, so only `make mlflow-test` does."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from harness.cache import cache_dir, lock

ROOT = Path(__file__).parents[2]
REQUIREMENT = "mlflow>=3,<4"
ASKED = "HARNESS_TEST_MLFLOW"
"""The environment variable that asks for the tests with a server."""


def place() -> Path:
    return cache_dir() / "tests" / f"mlflow-{sys.version_info.major}.{sys.version_info.minor}"


def python() -> Path:
    return place() / "bin" / "python"


def make() -> None:
    """A virtual environment with MLflow of its own. What harness needs besides is added where it runs
    (`with_harness`)."""
    with lock("tests-mlflow"):
        if python().exists():
            return
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place())], check=True)
        pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*pip, REQUIREMENT], check=True)
        except BaseException:
            python().unlink()
            raise


def with_harness(*arguments: str) -> list[str]:
    """The command line of a harness that finds MLflow's own packages first, and what it lacks where this
    Python has it."""
    more = [str(ROOT), sysconfig.get_path("purelib"), *(path for path in sys.path if "site-packages" in path)]
    script = f"import sys; sys.path += {more!r}; from harness.cli import main; main()"
    return [str(python()), "-c", script, *arguments]
