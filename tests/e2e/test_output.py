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


@pytest.mark.triton
def test_what_is_met_is_0_also_where_nobody_reads(workplace: Workplace) -> None:
    workplace.scenario(f"{ONE}objective: {{p50_ms: 10000}}\n")
    code, out, err = shell(workplace, "$H run scenario.yaml | true")
    assert (code, out) == (0, "") and "Traceback" not in err, err
    code, out, err = shell(workplace, f"$H report {workplace.runs[0]} --json")
    assert [each["met"] for each in json.loads(out)["points"][0]["objective"]] == [True]


@pytest.mark.triton
def test_requests_that_failed_are_over_the_limit_and_the_exit_code_says_so(workplace: Workplace) -> None:
    """An id that the model doesn't have, in one of ten requests; the others are far below the limit."""
    _lookup(workplace.path / "lookup.onnx")
    workplace.scenario(LOOKUPS)
    code, out, err = shell(workplace, "$H run scenario.yaml --json")
    assert code == 1, err
    (point,) = json.loads(out)["points"]
    assert point["verdict"] == "valid" and 0.02 < point["errors"] / point["requests"] < 0.3
    assert point["latency_s"]["p99"] is None or point["latency_s"]["p99"] < 1, "of those that were answered"
    assert [each["met"] for each in point["objective"]] == [False]
    code, out, err = shell(workplace, f"$H report {workplace.runs[0]}")
    assert "(a failed request is over every limit): missed at the valid point" in out
    assert "out of data bounds" in out, out


LOOKUPS = (
    ONE.replace("double.onnx", "lookup.onnx")
    .replace(
        "{name: small, axes: {n: 16}}",
        "{name: good, axes: {n: 4}, payload: random, low: 0, high: 100, weight: 9}\n"
        "  - {name: bad, axes: {n: 4}, payload: random, low: 1000, high: 1001, weight: 1}",
    )
    .replace("validity: {", "objective: {p99_ms: 10000}\nvalidity: {errors: 0.5, ")
)


def _lookup(file: Path) -> None:
    """y = the rows of a table of 100, by their numbers `ids` of [batch, n]."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "lookup",
        [value("ids", TensorProto.INT64, ["batch", "n"])],
        [value("y", TensorProto.FLOAT, ["batch", "n", 2])],
        [numpy_helper.from_array(np.ones((100, 2), np.float32), "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


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
