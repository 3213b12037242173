"""`harness compare` through the real command line: real runs, simulated ones, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.commands.report import collect
from harness.comparison.subject import Subject
from harness.schema.tune_result import Figure
from harness.store import compare_file, tune_file
from harness.store.run_folder import RunFolder
from tests.comparison.subjects import searched
from tests.e2e.conftest import TINY, Workplace, valid
from tests.planning.simulated_runs import Truth, simulated_run
from tests.report.factory import environment
from tests.store.finished import asked_for

SWEEP = """\
model: minilm
server: {max_batch: 8}
requests:
  - {name: text, tokens: 16}
load: {rate_per_s: [300, 500, 600, 700, 800, 900, 1000], arrivals: poisson}
measure: {duration_s: 10}
objective: {p90_ms: 20}
"""
"""Both machines' capacities lie between two of the rates."""

XEON = environment(gpu=False)
EPYC = XEON.model_copy(update={"cpu": "AMD EPYC 9554", "host": "bench-2", "kernel": "6.8"})
FASTER = Truth(fixed_s=(0.0024,), each_s=(0.00072,), seed=2)
"""Takes 0.8 times as long for any batch: it serves 1.25 times as much."""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results/xeon, results/epyc and results/short."""
    place = tmp_path_factory.mktemp("sweeps")
    for name, text, truth, where in (
        ("xeon", SWEEP, Truth(), XEON),
        ("epyc", SWEEP, FASTER, EPYC),
        ("short", SWEEP.replace("[300, 500, 600, 700, 800, 900, 1000]", "[100, 200]"), FASTER, EPYC),
        (
            "other",
            SWEEP.replace("tokens: 16", "tokens: 32").replace("[300, 500, 600, 700, 800, 900, 1000]", "100"),
            FASTER,
            EPYC,
        ),
    ):
        simulated_run(place / "results", text, truth, where=where).path.rename(place / "results" / name)
    return place


def at(place: Path) -> Workplace:
    return Workplace(place)


def test_two_real_runs_are_compared_where_the_machine_differs_and_refused_where_they_do(
    workplace: Workplace,
) -> None:
    """The same machine twice; the second run's record is then given another CPU, as another machine's has."""
    scenario = workplace.scenario(TINY.replace("[4, 8]", "8").replace("duration_s: 2", "duration_s: 1"))
    measured = [valid(workplace.run("run", scenario, "--json"))["points"][0] for _ in range(2)]
    one, other = workplace.runs
    results = workplace.path / "results"
    with pytest.raises(harness.InputError, match="all of these runs are of one machine"):
        harness.compare(one, other, results=results, quiet=True)
    _on_another_cpu(other)
    done = workplace.run("compare", one, other.name, "--json")
    found = done.document
    assert done.code == (0 if found["conclusive"] else 3), done.stderr
    assert found["conclusive"] is (found["why"] is None)
    (folder,) = (run for run in workplace.runs if (run / "compare.json").exists())
    assert json.loads((folder / "compare.json").read_text()) == found
    assert [machine["device"] for machine in found["machines"]] == ["cpu", "cpu"]
    assert {"name": "cpu", "weight": "subject"}.items() <= found["environment"][0].items()
    (workload,) = found["workloads"]
    ratios = {each["metric"]: each for each in workload["figures"][1]["ratios"]}
    assert {"throughput", "p50"} <= ratios.keys() and "capacity" not in ratios
    throughput = ratios["throughput"]
    assert throughput["reference"] == measured[0]["throughput_inferences_per_s"]
    # A second on a busy machine doesn't always give an interval, or one that ends above 0.
    intervals = [point["throughput_interval_95"] for point in measured]
    assert (throughput["ratio"]["low"] is not None) is (all(intervals) and intervals[1][0] > 0), intervals
    assert "What the data can't say" in (folder / "compare.html").read_text()
    assert (folder / "summary.md").read_text().startswith("# another CPU")
    asked_for(RunFolder(other), measure={"duration_s": 2})
    refused = r"not fair \(length\): measure.duration_s is 1.0 .*\n.*--allow length"
    with pytest.raises(harness.InputError, match=refused):
        harness.compare(one, other, results=results, quiet=True)
    allowed = harness.compare(one, other, allow=["length"], results=results, quiet=True)
    assert [each.name for each in allowed.allowed] == ["length"]


def _on_another_cpu(run: Path) -> None:
    record = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(record | {"cpu": "another CPU", "host": "another"}))


def test_a_faster_machine_is_said_to_serve_as_much_more_as_it_does(sweeps: Path) -> None:
    done = at(sweeps).run("compare", "xeon", "epyc", "--price", "Xeon=0.5", "--price", "EPYC=1", "--json")
    assert done.code == 0, done.stderr
    found = done.document
    (workload,) = found["workloads"]
    by = {(each["metric"], each["at"]): each for each in workload["figures"][1]["ratios"]}
    capacity = by["capacity", "at the objective"]
    assert capacity["standing"] == "more"
    assert capacity["ratio"]["low"] < 1.25 < capacity["ratio"]["high"]
    assert by["cost", "at the objective"]["ratio"]["value"] == pytest.approx(2 / capacity["ratio"]["value"])
    assert by["p50", "at 500/s poisson"]["ratio"]["value"] < 0.8
    assert found["schema_version"] == 1 and found["currency"] == "EUR" and found["allowed"] == []
    assert compare_file.read(Path(found["path"])).model_dump(mode="json") == found
    shutil.rmtree(found["path"])


def test_a_sweep_that_ends_too_soon_says_at_least_and_ends_with_3(sweeps: Path) -> None:
    done = at(sweeps).run("compare", "xeon", "short")
    assert done.code == 3, done.stderr
    assert "at least 200" in done.stdout and "not conclusive: a capacity isn't bracketed" in done.stdout
    assert "AMD EPYC 9554, 2 cores and Intel(R) Xeon(R)" in done.stdout
    (file,) = sweeps.glob("results/*-compare-*/compare.json")
    figures = compare_file.read(file.parent).workloads[0].figures[1]
    assert (figures.capacity_per_s.value, figures.capacity_per_s.high) == (None, None)
    assert figures.capacity_per_s.low == pytest.approx(200)
    shutil.rmtree(file.parent)


def test_what_was_allowed_is_marked_on_every_chart_and_table(sweeps: Path) -> None:
    with pytest.raises(harness.InputError, match=r"not fair \(requests\): requests.text.axes"):
        harness.compare("xeon", "other", results=sweeps / "results", quiet=True)
    done = at(sweeps).run("compare", "xeon", "other", "--allow", "requests", "--json")
    assert done.code == 3, done.stderr
    assert [each["name"] for each in done.document["allowed"]] == ["requests"]
    assert all(each["although"] == ["requests"] for each in done.document["workloads"])
    folder = Path(done.document["path"])
    page, summary = (folder / "compare.html").read_text(), (folder / "summary.md").read_text()
    assert page.count('<svg class="frontier"') == page.count('<text class="unfair"') >= 1
    headings = page.count("<h2>") - 1  # what the data can't say is no comparison
    assert page.count('<span class="mark">unfair: requests</span>') == 1 + headings + 3, "title, tables"
    assert summary.count("(unfair: requests)") == 2 and "**allowed**: requests" in summary


def test_several_runs_of_a_machine_are_one_with_what_differs_from_run_to_run(
    sweeps: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(sweeps / "results" / "epyc", tmp_path / "again")
    found = harness.compare(
        sweeps / "results" / "xeon", sweeps / "results" / "epyc", again, results=tmp_path, quiet=True
    )
    assert [len(each.runs) for each in found.machines] == [1, 2]
    (workload,) = found.workloads
    assert workload.figures[1].capacity_why.startswith("2 runs, the first by 7 rates")
    questions = next(each.why for each in found.unsaid if each.question.startswith("Would another start"))
    assert "Xeon" in questions and "EPYC" not in questions


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "one run": (("xeon",), "takes two runs at least"),
    "twice": (("xeon", "results/xeon"), "is named twice"),
    "none such": (("xeon", "nowhere"), "results/nowhere is no folder"),
    "no such reason": (
        ("xeon", "epyc", "--allow", "hash"),
        "--allow hash names no reason: it takes model, parity",
    ),
    "no price": (("xeon", "epyc", "--price", "Xeon"), "--price Xeon isn't a NAME=EUR_PER_HOUR"),
    "a free machine": (("xeon", "epyc", "--price", "Xeon=0"), "isn't a NAME=EUR_PER_HOUR"),
    "another machine's": (("xeon", "epyc", "--price", "L4=1"), "names none of the machines: they are Intel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_one_sentence(
    sweeps: Path, case: str, capfd: Any, monkeypatch: Any
) -> None:
    from harness.cli import main

    arguments, said = REFUSED[case]
    monkeypatch.chdir(sweeps)
    monkeypatch.setattr("sys.argv", ["harness", "compare", *arguments])
    before = set(sweeps.glob("results/*"))
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capfd.readouterr()
    assert ended.value.code == 2 and said in captured.err and "Traceback" not in captured.err, captured.err
    assert set(sweeps.glob("results/*")) == before


def test_a_half_written_run_is_named_and_refused(sweeps: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(sweeps / "results" / "epyc", tmp_path / "cut")
    next(cut.glob("points/*/observed.json")).unlink()
    with pytest.raises(harness.InputError, match=r"not fair \(unfinished\): cut didn't come to its end"):
        harness.compare(sweeps / "results" / "xeon", cut, results=tmp_path, quiet=True)
    (cut / "environment.json").unlink()
    (cut / "result.json").unlink()
    with pytest.raises(harness.InputError, match="doesn't say any more where it was measured"):
        harness.compare(sweeps / "results" / "xeon", cut, results=tmp_path, quiet=True)


def test_searches_are_compared_by_what_they_proved(sweeps: Path, tmp_path: Path) -> None:
    folders = []
    for name, proven in (("xeon", (600, 570, 630)), ("epyc", (780, 750, 800))):
        folder = RunFolder(shutil.copytree(sweeps / "results" / name, tmp_path / f"tuned-{name}"))
        run = collect(folder, {})
        assert run.environment is not None
        value, low, high = proven
        proof = Figure(value=value, low=low, high=high)
        search = searched(Subject(run, run.environment), proven=proof).search
        assert search is not None
        tune_file.write(folder, search)
        folders.append(folder.path)
    found = harness.compare(*folders, results=tmp_path, quiet=True)
    (workload,) = found.workloads
    capacity = next(each for each in workload.figures[1].ratios if each.metric == "capacity")
    assert capacity.ratio.value == pytest.approx(1.3) and capacity.standing == "more" and found.conclusive
    assert {run.command for machine in found.machines for run in machine.runs} == {"tune"}
    with pytest.raises(harness.InputError, match=r"not fair \(tuning\): the search is none"):
        harness.compare(sweeps / "results" / "xeon", folders[1], results=tmp_path, quiet=True)


def test_a_damaged_search_is_named(sweeps: Path, tmp_path: Path) -> None:
    cut = RunFolder(shutil.copytree(sweeps / "results" / "epyc", tmp_path / "cut"))
    run = collect(cut, {})
    assert run.environment is not None
    whole = Subject(run, run.environment)
    for damaged in (
        "{",
        _search_json(searched(whole, recommended=7)),
        _search_json(searched(whole, proven=Figure(value=-5, low=-6, high=-4))),
    ):
        (cut.path / "tune.json").write_text(damaged)
        with pytest.raises(harness.InputError, match=r"tune\.json.*so this search can't be compared"):
            harness.compare(sweeps / "results" / "xeon", cut.path, results=tmp_path, quiet=True)


def _search_json(of: Subject) -> str:
    assert of.search is not None
    return of.search.model_dump_json()
