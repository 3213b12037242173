"""A gate that another installed package adds: it judges, it has a limit, and it is missed where it isn't."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.analysis.gates.all_gates import GATES, installed_gates
from harness.analysis.gates.gate import gate
from harness.extensions import extensions
from harness.schema.errors import InputError
from harness.schema.scenario import Validity
from tests.extension import installed
from tests.store.finished import SCENARIO, asked_for, finished_run

SLOW_START = """
from collections.abc import Iterator

from harness.analysis.gates.gate import Evidence, gate


@gate("the first request took more than a second", limit="first_request_s", default=1.0)
def slow_start(evidence: Evidence) -> Iterator[str]:
    limit_s = slow_start.limit_of(evidence)
    first_s = (evidence.requests.completed_ns[0] - evidence.requests.intended_ns[0]) / 1e9
    if first_s > limit_s:
        yield f"the first request took over {limit_s:g} s: raise measure.warmup_s"
"""
REASON = "the first request took over 0.0001 s: raise measure.warmup_s"


def ran(*arguments: str, package: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        env=os.environ | ({"PYTHONPATH": str(package)} if package is not None else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return installed(tmp_path, "gates", {"slow-start": SLOW_START}, attribute="slow_start")


def test_a_gate_that_a_package_adds_judges_a_recorded_run(tmp_path: Path, package: Path) -> None:
    folder = finished_run(tmp_path)
    run = folder.path
    (before,) = json.loads((run / "result.json").read_text())["points"]
    asked_for(folder, validity={"first_request_s": 0.0001})

    assert ran("report", str(run), package=package).returncode == 0
    (point,) = json.loads((run / "result.json").read_text())["points"]
    assert point["verdict"] == "invalid" and point["reasons"] == [*before["reasons"], REASON]
    assert point["point"]["validity"]["first_request_s"] == 0.0001
    page = (run / "report.html").read_text()
    assert REASON in page and "first_request_s: 0.0001" in page

    missed = ran("report", str(run))
    assert missed.returncode == 2 and "Traceback" not in missed.stderr
    assert "validity.first_request_s, and no gate here has that limit: install" in missed.stderr


def test_its_limit_is_a_key_of_the_scenario_where_it_is_installed(tmp_path: Path, package: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"{SCENARIO}validity: {{first_request_s: 2}}\n")
    done = ran("run", str(file), "--dry-run", package=package)
    assert done.returncode == 0, done.stderr
    alone = ran("run", str(file), "--dry-run")
    assert alone.returncode == 2
    assert f"{file}:6: unknown key `validity.first_request_s`" in alone.stderr.replace("\n", "")

    for value, says in (
        ("first_reqest_s: 2", "unknown key `validity.first_reqest_s`: did you mean `first_request_s`?"),
        ("first_request_s: soon", '`validity.first_request_s` is "soon", but must be a number'),
        ("first_request_s: -1", "must be greater than or equal to 0"),
    ):
        file.write_text(f"{SCENARIO}validity: {{{value}}}\n")
        done = ran("run", str(file), "--dry-run", package=package)
        assert done.returncode == 2 and says in " ".join(done.stderr.split()), done.stderr
    schema = json.loads(ran("schema", package=package).stdout)["$defs"]["Validity"]
    assert schema["properties"]["first_request_s"]["default"] == 1.0
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("slow_start = print", "adds 'slow-start' to harness's gates, and it is no Gate"),
        (SLOW_START.replace('"first_request_s"', '"drift"'), "limit validity.drift, which is another gate's"),
    ],
)
def test_what_is_no_gate_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    package = installed(tmp_path, "gates", {"slow-start": source}, attribute="slow_start")
    for name in [name for name in sys.modules if name.startswith("harness_extension")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(package))
    extensions.cache_clear()
    with pytest.raises(InputError, match=re.escape(says)):
        installed_gates.__wrapped__()
    extensions.cache_clear()


def test_a_gate_without_a_limit_has_none_to_ask_for() -> None:
    @gate("nothing")
    def never(_: object) -> tuple[str, ...]:
        return ()

    with pytest.raises(TypeError, match="never has no limit"):
        never.limit_of(None)  # type: ignore[arg-type]


def test_the_documentation_has_every_gate_in_order() -> None:
    page = (Path(__file__).parents[1] / "docs/measurement.md").read_text()
    table = page[page.index("| gate | verdict |") :].split("\n\n")[0].splitlines()[2:]
    keys = {gate.name: f" (`{gate.limit}`)" if gate.limit else "" for gate in GATES}
    assert table == [f"| {gate.refuses}{keys[gate.name]} | {gate.verdict} |" for gate in GATES]
    assert {gate.limit for gate in GATES} - {None} == set(Validity.model_fields)
