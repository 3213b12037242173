"""What becomes of a result where stdout isn't a terminal of today: the exit code says what was measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import HARNESS, ONE, Workplace
from tests.store.finished import finished_run

MISSED = f"{ONE.replace('duration_s: 1', 'duration_s: 0.5')}objective: {{p50_ms: 0.00001}}\n"


def shell(workplace: Workplace, line: str, **environment: str) -> tuple[int, str, str]:
    """A line of bash in which $H is harness; a pipeline's code is that of harness."""
    done = subprocess.run(
        ["bash", "-c", f"H={' '.join(HARNESS)!r}; set -o pipefail; {line}"],
        cwd=workplace.path,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        timeout=240,
    )
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run in a folder whose name few encodings have."""
    yield finished_run(tmp_path_factory.mktemp("output") / "長🙂", requests=60).path


@pytest.mark.triton
def test_a_missed_objective_is_1_also_where_nobody_reads_and_nothing_else_is(workplace: Workplace) -> None:
    workplace.scenario(MISSED)
    code, out, err = shell(workplace, "$H run scenario.yaml | true")
    assert (code, out) == (1, ""), err
    assert "Traceback" not in err and workplace.runs
    code, _, err = shell(
        workplace, f"$H run scenario.yaml --json 2>/dev/full | true; $H report {workplace.runs[0]}"
    )
    assert code == 0 and len(workplace.runs) == 2, err
    code, _, err = shell(workplace, "$H run scenario.yaml > /dev/full")
    assert code == 4 and len(workplace.runs) == 3
    assert "harness: stdout can't be written (No space left on device): send it elsewhere" in err
    assert "Traceback" not in err and "Exception ignored" not in err
    code, out, err = shell(workplace, "$H run scenario.yaml >&-")
    assert (code, out) == (1, "") and "Traceback" not in err and len(workplace.runs) == 4


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("$H report {run} --json | true", 0),
        ("$H models >&-", 0),
        ("$H run --help > /dev/full 2>&1", 4),
        ("$H report {run} > /dev/full", 4),
        ("$H report nowhere 2>&-", 2),
        ("$H report nowhere 2>&1 | true", 2),
    ],
)
def test_what_nobody_reads_is_no_failure(workplace: Workplace, small: Path, line: str, wanted: int) -> None:
    code, _, err = shell(workplace, line.format(run=small))
    assert code == wanted and "Traceback" not in err and "ignored" not in err, err


LATIN = {"PYTHONIOENCODING": "latin-1:strict"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [LATIN, C_LOCALE, {"PYTHONIOENCODING": "utf-16"}])
def test_every_encoding_of_stdout_takes_all_that_is_printed(
    workplace: Workplace, small: Path, environment: dict[str, str]
) -> None:
    (workplace.path / "run").symlink_to(small)
    code, out, err = shell(workplace, f"$H report {small}; $H report run --json > document", **environment)
    assert code == 0 and out and "Traceback" not in err, err
    encoding = environment.get("PYTHONIOENCODING", "ascii").partition(":")[0]
    document = json.loads((workplace.path / "document").read_bytes().decode(encoding))
    assert len(document["points"]) == 1 and (encoding == "ascii" or document["path"] == str(small))
