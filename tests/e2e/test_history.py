"""`harness history` on the command line: what a user types, sees and gets as an exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished, Workplace
from tests.store.finished import finished_run
from tests.store.past_runs import PastRuns

RUNS_OF_0_1 = Path(__file__).parents[1] / "data" / "runs_of_0_1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """With three runs of `small`, one of harness 0.1, and one that was cut off."""
    path = tmp_path_factory.mktemp("history")
    past = PastRuns(path / "results", finished_run(path / "of").path)
    for day, p99_s in enumerate((0.02, 0.021, 0.03)):
        past.made(day, p99_s=p99_s)
    past.made(4, name="half", finished=False)
    shutil.copytree(RUNS_OF_0_1 / "wires", past.results / "wires")
    return Workplace(path, {"HARNESS_CACHE": str(path / "cache")})


def refused(done: Finished) -> str:
    """The one sentence of a command that ended with bad input."""
    assert (done.code, done.stdout) == (2, ""), done
    (sentence,) = done.stderr.splitlines()
    return sentence


def test_the_list(place: Workplace) -> None:
    done = place.run("history")
    lines = done.stdout.splitlines()
    assert done.code == 0 and done.stderr == ""
    assert [each.strip() for each in lines[0].split("|")[:3]] == ["when", "run", "scenario"]
    assert [line.split("|")[1].strip() for line in lines[2:6]] == [
        "wires",
        "20260103T000000Z-small",
        "20260102T000000Z-small",
        "20260101T000000Z-small",
    ]
    assert [line.split()[-3] for line in lines[3:6]] == ["30.0", "21.0", "20.0"]
    (skipped,) = lines[6:]
    assert skipped.startswith("skipped: ") and "half isn't finished (1 of 1 points)" in skipped
    some = place.run("history", "--scenario", "small", "--limit", "1").stdout.splitlines()
    assert some[-2] == "listed: the newest 1 of 3 runs; --limit lists more"


def test_its_document(place: Workplace) -> None:
    document = place.run("history", "--json", "--since", "2026-01-02", "--scenario", "small").document
    assert document["schema_version"] == 1 and document["found"] == 2
    assert [run["p99_s"] for run in document["runs"]] == [0.03, 0.021]
    assert [each["folder"] for each in document["skipped"]] == ["half"]


def test_a_trend(place: Workplace) -> None:
    done = place.run("history", "trend", "small", "--metric", "p99")
    rows = [line.split("|") for line in done.stdout.splitlines()[3:6]]
    assert done.code == 0 and done.stdout.startswith("p99: ") and "NVIDIA H100" in done.stdout
    assert [(row[2].strip(), row[4].strip()) for row in rows] == [
        ("20.0", "+0.0%"),
        ("21.0", "+5.0%"),
        ("30.0", "+50.0%"),
    ]


def test_a_query(place: Workplace) -> None:
    asked = "SELECT kind, count(*) AS runs FROM runs GROUP BY kind"
    assert place.run("history", "sql", asked, "--json").document["rows"] == [["run", 4]]
    assert "one SELECT is answered" in refused(place.run("history", "sql", "DROP TABLE runs"))


def test_a_run_as_a_file_and_back(place: Workplace) -> None:
    sent = place.run("history", "export", "wires", "--to", "w.tar")
    assert (sent.code, sent.stdout) == (0, "w.tar\n")
    back = place.run("history", "import", "w.tar", "--results", "elsewhere")
    assert (back.code, back.stdout) == (0, "elsewhere/wires\n")
    (place.path / "w.tar").write_bytes((place.path / "w.tar").read_bytes()[:-50_000])
    assert "is no whole archive of a run" in refused(
        place.run("history", "import", "w.tar", "--results", "third")
    )


def test_thinning(place: Workplace) -> None:
    shutil.copytree(place.path / "results", place.path / "old")
    here = ("--results", "old", "--scenario", "small")
    would = place.run("history", "thin", "--older-than", "1d", "--dry-run", *here)
    assert would.stdout.splitlines()[-1].startswith("would be removed: the raw samples of 3 runs, ")
    did = place.run("history", "thin", "--older-than", "1d", *here, "--json").document
    assert (did["dry_run"], len(did["runs"])) == (False, 3)
    run = place.path / "old" / did["runs"][0]["folder"]
    report = place.run("report", run, "--json")
    assert (
        report.code == 0
        and json.loads((run / "result.json").read_text())["points"] == report.document["points"]
    )
    assert "were removed by `harness history thin`" in report.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "runs"), "there is no kind 'runs': give one of run, tune, plan, ab, nightly"),
        (("export", "nothing"), "is no folder"),
    ],
)
def test_a_mistake_is_one_sentence(place: Workplace, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused(place.run("history", *arguments))
