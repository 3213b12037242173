"""The index of a results folder: what it counts, what it names, and that it is never stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness import cache
from harness.analysis.outcomes import run_outcome
from harness.commands import plan as commands_plan
from harness.commands import run as commands_run
from harness.commands import tune as commands_tune
from harness.commands.history import history, sql, trend
from harness.schema.errors import ExitCode, InputError
from harness.schema.history_result import OUTCOMES, History, RunOutcome
from harness.schema.night_result import Night
from harness.schema.plan_result import PlanResult
from harness.schema.result import ObjectiveCheck, Verdict
from harness.schema.tune_result import TuneResult
from harness.store.history import index, scan
from tests.mounts import mounted, read_only
from tests.report.factory import DEMO_RUN
from tests.report.test_comparison_page import comparison
from tests.report.test_plan_page import hardware, plan
from tests.report.test_search_page import search
from tests.store.finished import finished_run
from tests.store.past_runs import TWO_POINTS, PastRuns

RUNS_OF_0_1 = Path(__file__).parents[1] / "data" / "runs_of_0_1"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("small")).path


@pytest.fixture
def past(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PastRuns:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return PastRuns(tmp_path / "results", small)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that were read, in turn."""
    names: list[str] = []
    whole = index.rows_of

    def noted(path: Path, name: str, *, thorough: bool) -> index.Rows:
        names.append(name)
        return whole(path, name, thorough=thorough)

    monkeypatch.setattr(index, "rows_of", noted)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just written counts as written long ago."""
    monkeypatch.setattr(scan, "COARSE_S", -1e6)


def listed(found: History) -> list[str]:
    return [run.folder for run in found.runs]


def skipped(found: History) -> dict[str, str]:
    return {each.folder: each.why for each in found.skipped}


def test_runs_are_listed_the_newest_first_with_what_their_reader_wants(past: PastRuns) -> None:
    past.made(1, p99_s=0.03)
    past.made(3)
    past.made(2, host="bench-2", verdict="invalid")
    found = history(past.results)
    assert [run.started_at[:10] for run in found.runs] == ["2026-01-04", "2026-01-03", "2026-01-02"]
    newest, invalid, oldest = found.runs
    assert (oldest.kind, oldest.scenario, oldest.model) == ("run", "small", "minilm")
    assert (oldest.host, oldest.hardware) == ("bench-1", "NVIDIA H100 80GB HBM3")
    assert (oldest.outcome, oldest.points, oldest.valid_points, oldest.p99_s) == ("valid", 1, 1, 0.03)
    assert newest.throughput_per_s and newest.throughput_per_s > 0
    assert (invalid.outcome, invalid.valid_points, invalid.p99_s) == ("invalid", 0, None)
    assert found.skipped == () and found.schema_version == 1


@pytest.mark.parametrize(
    ("filters", "fitting"),
    [
        ({"scenario": "other"}, ["other"]),
        ({"machine": "BENCH-2"}, ["away"]),
        ({"machine": "h100"}, ["away", "other", "small"]),
        ({"outcome": "invalid"}, ["other"]),
        ({"kind": "tune"}, []),
        ({"model": "mini", "since": "2026-01-02"}, ["away", "other"]),
        ({"limit": 1}, ["away"]),
    ],
)
def test_filters(past: PastRuns, filters: dict[str, object], fitting: list[str]) -> None:
    past.made(0, name="small")
    past.made(1, name="other", scenario="other", verdict="invalid")
    past.made(2, name="away", host="bench-2")
    found = history(past.results, **filters)  # type: ignore[arg-type]
    assert listed(found) == fitting
    assert found.found == (3 if "limit" in filters else len(fitting))


@pytest.mark.parametrize(
    "wrong", [{"kind": "x"}, {"outcome": "good"}, {"since": "soon"}, {"since": "9" * 30}]
)
def test_a_filter_that_cant_be_meant_is_refused(past: PastRuns, wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"give "):
        history(past.results, **wrong)  # type: ignore[arg-type]


@given(st.text(max_size=12))
def test_no_text_as_a_time_is_a_traceback(text: str) -> None:
    try:
        history(Path("/nowhere"), since=text)
    except InputError:
        return
    raise AssertionError("the folder isn't there")


def test_a_figure_over_time_is_of_valid_points_of_one_machine(past: PastRuns) -> None:
    past.made(2, p99_s=0.03)
    past.made(1, p99_s=0.02)
    past.made(3, p99_s=0.5, verdict="invalid")
    past.made(4, p99_s=0.04, host="bench-2")
    found = trend("small", "p99", past.results)
    assert [(s.host, [v.value for v in s.values]) for s in found.series] == [
        ("bench-1", [0.02, 0.03]),
        ("bench-2", [0.04]),
    ]
    assert found.series[0].values[0].interval_95 == pytest.approx((0.018, 0.022))
    assert (found.unit, found.left_out) == ("s", {"invalid": 1})
    assert [s.host for s in trend("small", "p99", past.results, machine="bench-2").series] == ["bench-2"]
    rate = trend("small", "throughput", past.results).series[0].values[0]
    assert rate.interval_95 and rate.interval_95[0] < rate.value < rate.interval_95[1]


def test_a_point_is_named_by_its_label_or_its_id(past: PastRuns, tmp_path: Path) -> None:
    PastRuns(past.results, finished_run(tmp_path / "two", TWO_POINTS).path).made()
    both = trend("small", "p99", past.results)
    assert [series.point for series in both.series] == ["rate_per_s 100.0", "rate_per_s 50.0"]
    first = both.series[0]
    for name in (first.point, first.values[0].point_id):
        assert trend("small", "p99", past.results, point=name).series == (first,)
    assert trend("small", "p99", past.results, point="nothing").series == ()


def test_a_metric_or_scenario_that_isnt_there_is_refused(past: PastRuns) -> None:
    past.made()
    with pytest.raises(InputError, match=r"no metric 'p98': give one of p50, "):
        trend("small", "p98", past.results)
    with pytest.raises(InputError, match=r"no run of a scenario 'smal': .* are small"):
        trend("smal", "p99", past.results)


def test_comparisons_and_nights_are_listed_with_their_verdicts(past: PastRuns) -> None:
    past.made()
    folder = past.results / "20261130T200000Z-before-vs-after"
    folder.mkdir()
    (folder / "ab.json").write_text(comparison().model_dump_json())
    (run,) = history(past.results, kind="ab").runs
    assert (run.scenario, run.outcome, run.points) == ("before vs after", "regressed", 2)
    told = sql("SELECT point, metric, outcome FROM changes ORDER BY ALL", past.results, limit=100).rows
    assert ("8 users", "p50", "regressed") in told and ("1 user", "p50", "pass") in told
    found = trend("before vs after", "p50", past.results, kind="ab")
    assert [series.point for series in found.series] == ["1 user", "8 users"]
    assert trend("before vs after", "p50", past.results).series == (), "an experiment is no night"


def test_comparisons_of_runs_and_kept_builds_are_no_damaged_runs(past: PastRuns) -> None:
    past.made()
    for name, file in (
        ("20261130T200000Z-small-bisect", "bisect.json"),
        ("20261130T200000Z-compare-small", "compare.json"),
        ("baselines", "small/20261130T200000Z/baseline.json"),
        ("references", "small/20261130T200000Z/baseline.json"),
    ):
        (past.results / name / file).parent.mkdir(parents=True)
        (past.results / name / file).write_text("{}")
    found = history(past.results)
    assert len(found.runs) == 1 and found.skipped == ()


def test_a_verdict_by_nights_is_listed(past: PastRuns) -> None:
    """It has no e-value."""
    past.made()
    made = comparison()
    points = tuple(
        point.model_copy(
            update={
                "metrics": tuple(
                    m.model_copy(update={"e_value": None, "p_value": 0.01}) for m in point.metrics
                )
            }
        )
        for point in made.points
    )
    by_nights = made.model_copy(update={"points": points, "nights": ("first",)})
    (past.results / "n").mkdir()
    (past.results / "n" / "nightly.json").write_text(
        night(outcome="regressed", comparison=by_nights).model_dump_json()
    )
    (run,) = history(past.results, kind="nightly").runs
    assert run.outcome == "regressed"
    told = sql("SELECT DISTINCT e_value FROM changes", past.results, limit=10).rows
    assert told == ((None,),)


def night(**changed: object) -> Night:
    whole = dict(
        run_id="n",
        path="/somewhere/n",
        scenario="small",
        started_at="2026-11-30T20:00:00+00:00",
        finished_at="2026-11-30T21:00:00+00:00",
        outcome="no baseline",
        why="there was no baseline",
        baseline=None,
        changed={},
        disturbed=None,
        waited_s=0.0,
        comparison=None,
    )
    return Night(**(whole | changed))  # type: ignore[arg-type]


def test_a_night_is_in_the_trend_by_its_candidate(past: PastRuns) -> None:
    past.made()
    for name, found in (("first", night()), ("n", night(outcome="regressed", comparison=comparison()))):
        (past.results / name).mkdir()
        (past.results / name / "nightly.json").write_text(found.model_dump_json())
    (past.results / "n" / "ab.json").write_text(comparison().model_dump_json())
    (past.results / "cut").mkdir()
    (past.results / "cut" / "nightly.json").write_text(night(finished_at=None).model_dump_json())
    found = history(past.results, kind="nightly")
    assert {run.folder: (run.outcome, run.points) for run in found.runs} == {
        "first": ("no baseline", 0),
        "n": ("regressed", 2),
    }
    assert "is a night that was cut off" in skipped(found)["cut"]
    values = {s.point: [v.value for v in s.values] for s in trend("small", "p50", past.results).series}
    told = {point.point: point.metrics for point in comparison().points}
    for point, metrics in told.items():
        assert values[point] == [each.candidate for each in metrics if each.metric == "p50"]


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (search(), "found"),
        (search(best=None, recommended=None, why="none holds it"), "missed"),
        (search(best=None, recommended=None, why="none could be measured", steps=()), "inconclusive"),
        (plan(), "found"),
        (plan(hardware(replicas=None, why="none holds it")), "missed"),
        (plan(hardware(replicas=None, trust=None, why="too few points")), "inconclusive"),
    ],
)
def test_searches_and_plans_end_as_their_exit_codes_say(
    past: PastRuns, made: TuneResult | PlanResult, outcome: str
) -> None:
    kind, story = ("tune", commands_tune) if isinstance(made, TuneResult) else ("plan", commands_plan)
    (past.results / kind).mkdir()
    (past.results / kind / f"{kind}.json").write_text(made.model_dump_json())
    (run,) = history(past.results).runs
    assert (run.kind, run.outcome) == (kind, outcome)
    codes = {"found": ExitCode.FINE, "missed": ExitCode.OBJECTIVE_MISSED, "inconclusive": ExitCode.INVALID}
    assert story.exit_code(made) == codes[outcome]  # type: ignore[arg-type]
    if (kind, outcome) == ("tune", "found"):
        assert run.throughput_per_s is not None and run.point is not None and "max_batch" in run.point


@given(
    st.lists(st.sampled_from(["valid", "invalid", "inconclusive"]), min_size=1, max_size=4),
    st.lists(st.sampled_from([True, False, None]), max_size=2),
)
def test_runs_end_as_their_exit_code_says(verdicts: list[Verdict], met: list[bool | None]) -> None:
    checks = tuple(ObjectiveCheck(name="p99_ms", limit=1.0, observed=None, met=each) for each in met)
    points = [DEMO_RUN.points[0].model_copy(update={"verdict": v, "objective": checks}) for v in verdicts]
    result = DEMO_RUN.model_copy(update={"points": tuple(points)})
    codes = {"valid": 0, "met": 0, "missed": 1, "invalid": 3, "inconclusive": 3}
    assert commands_run.exit_code(result) == codes[run_outcome(result)]


def test_runs_of_0_1_are_read(past: PastRuns) -> None:
    shutil.copytree(RUNS_OF_0_1, past.results, dirs_exist_ok=True)
    by_name = {run.folder: run for run in history(past.results).runs}
    assert (by_name["wires"].outcome, by_name["wires"].points) == ("met", 2)
    assert (by_name["server-died"].outcome, by_name["server-died"].valid_points) == ("invalid", 1)
    assert trend("wires", "p50", past.results).series[0].values[0].value > 0


@pytest.mark.usefixtures("settled")
def test_only_what_changed_is_read_again(past: PastRuns, reads: list[str]) -> None:
    one, other = past.made(1, name="one"), past.made(2, name="other")
    history(past.results)
    assert reads == ["one", "other"]
    history(past.results)
    assert reads == ["one", "other"], "nothing has changed"
    past.made(3, name="new")
    shutil.rmtree(one.path)
    assert listed(history(past.results)) == ["new", "other"] and reads[2:] == ["new"]
    text = (other.path / "result.json").read_text()
    (other.path / "result.json").write_text(text.replace('"scenario": "small"', '"scenario": "large"'))
    assert [run.scenario for run in history(past.results).runs] == ["small", "large"]
    assert reads[3:] == ["other"]
    history(past.results, anew=True)
    assert reads[4:] == ["new", "other"]


@pytest.mark.usefixtures("settled")
def test_a_clock_that_was_set_back_hides_no_change(past: PastRuns) -> None:
    file = past.made().path / "result.json"
    history(past.results)
    text = file.read_text().replace('"scenario": "small"', '"scenario": "later"')
    assert len(text) == file.stat().st_size
    file.write_text(text)
    os.utime(file, (10, 10))
    assert [run.scenario for run in history(past.results).runs] == ["later"]


def test_a_change_with_the_same_coarse_time_is_seen(past: PastRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a bucket whose times are whole seconds: size and both times stay the same."""
    file = past.made().path / "result.json"
    second_ns = file.stat().st_mtime_ns // 10**9 * 10**9
    coarse = ("result.json", file.stat().st_size, second_ns, second_ns)
    monkeypatch.setattr(scan, "_files", lambda _: [coarse])
    history(past.results)
    file.write_text(file.read_text().replace('"scenario": "small"', '"scenario": "later"'))
    assert [run.scenario for run in history(past.results).runs] == ["later"]


def test_a_time_in_the_future_is_never_trusted(past: PastRuns, reads: list[str]) -> None:
    file = past.made().path / "result.json"
    os.utime(file, (4e9, 4e9))
    history(past.results)
    history(past.results)
    assert len(reads) == 2


@pytest.mark.usefixtures("settled")
def test_the_index_may_be_deleted_or_damaged_at_any_time(past: PastRuns) -> None:
    past.made()
    before = history(past.results)
    (file,) = (cache.cache_dir() / "history").iterdir()
    content = file.read_bytes()
    for damage in (b"", b"nonsense", content[: len(content) // 2], content[:5000] + b"\0" * 5000):
        file.write_bytes(damage)
        assert history(past.results) == before
    shutil.rmtree(file.parent)
    assert history(past.results) == before


def spoiled(past: PastRuns) -> dict[str, str]:
    """Folders that aren't to be counted, each with what must be said of it."""
    made = {
        name: past.made(5, name=name) for name in ("torn", "later", "short", "footer", "cut", "gone", "odd")
    }
    (made["torn"].path / "result.json").write_text('{"schema_version": 2, "run_id"')
    result = json.loads((made["later"].path / "result.json").read_text())
    (made["later"].path / "result.json").write_text(json.dumps(result | {"schema_version": 3}))
    (made["odd"].path / "result.json").write_text(json.dumps(result | {"started_at": "yesterday"}))
    past.made(5, name="half", finished=False)
    (made["cut"].path / "result.json").unlink()
    for name, change in (("short", 0.5), ("footer", 0.0)):
        (samples,) = made[name].path.glob("points/*/requests.parquet")
        content = samples.read_bytes()
        samples.unlink()
        samples.write_bytes(content[: int(len(content) * change)] if change else content[:-8] + b"\xff" * 8)
    (samples,) = made["gone"].path.glob("points/*/requests.parquet")
    samples.unlink()
    (past.results / "20260101T000000Z-begun").mkdir()
    (past.results / "loop").symlink_to(past.results)
    (past.results / "notes").mkdir()
    (past.results / "baselines").mkdir()
    return {
        "torn": "is damaged",
        "later": "has format 3, and this harness reads up to 2",
        "odd": "is no time",
        "half": "isn't finished (1 of 1 points)",
        "cut": "isn't finished (no point)",
        "short": "is damaged",
        "footer": "is damaged",
        "gone": "is missing",
        "20260101T000000Z-begun": "is missing",
        "loop": "is a link",
    }


def test_what_isnt_whole_is_named_and_never_counted(past: PastRuns) -> None:
    good = past.made()
    expected = spoiled(past)
    found = history(past.results)
    assert listed(found) == [good.path.name]
    assert skipped(found).keys() == expected.keys()
    for name, words in expected.items():
        assert words in skipped(found)[name], name
    assert [len(series.values) for series in trend("small", "p99", past.results).series] == [1]


@pytest.mark.parametrize("record", ["tune.json", "plan.json", "ab.json", "nightly.json"])
def test_a_record_of_a_later_harness_is_named(past: PastRuns, record: str) -> None:
    folder = past.made().path
    (folder / record).write_text('{"schema_version": 2}')
    (why,) = skipped(history(past.results)).values()
    assert "has format 2, and this harness reads up to 1" in why


@pytest.mark.usefixtures("settled")
def test_a_page_that_was_changed_is_found_when_the_file_is_new(past: PastRuns) -> None:
    """The footer is whole, and a checksum isn't."""
    run = past.made()
    assert listed(history(past.results))
    (samples,) = run.path.glob("points/*/requests.parquet")
    content = bytearray(samples.read_bytes())
    content[len(content) // 2] ^= 0xFF
    samples.unlink()
    samples.write_bytes(content)
    found = history(past.results)
    assert found.runs == () and "is damaged" in skipped(found)[run.path.name]


def test_a_name_that_isnt_utf_8_is_read(past: PastRuns) -> None:
    past.made(name=os.fsdecode(b"caf\xe9"))
    assert listed(history(past.results)) == ["caf\\xe9"]


def test_a_read_only_mount_is_read(past: PastRuns) -> None:
    past.made()
    with read_only(past.results):
        assert len(history(past.results).runs) == 1
    assert not [path for path in past.results.rglob("*") if path.suffix == ".duckdb"]


def test_on_a_full_disk_nothing_is_lost(
    past: PastRuns, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    past.made()
    full = tmp_path / "cache"
    full.mkdir()
    with mounted(full, "-t", "tmpfs", "-o", "size=64k", "none"):
        assert len(history(past.results).runs) == 1
        told = capfd.readouterr().err
        assert "isn't kept, and is made again the next time" in told and "make room" in told
        assert not list((full / "history").iterdir())


NOTHING_ELSE = [
    "DELETE FROM runs",
    "CREATE TABLE mine AS SELECT 1",
    "SELECT 1; DROP TABLE runs",
    "COPY runs TO '{there}'",
    "ATTACH '{there}'",
    "EXPORT DATABASE '{there}'",
    "INSTALL httpfs",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM glob('{secret}')",
    "SELECT * FROM past",
    "SELEC",
    "",
    "SELECT 1 -- " + "x" * 20_000,
]


@pytest.mark.parametrize("query", NOTHING_ELSE)
def test_a_query_reads_the_index_and_nothing_else(past: PastRuns, tmp_path: Path, query: str) -> None:
    past.made()
    secret, there = tmp_path / "secret.csv", tmp_path / "there"
    secret.write_text("precious\n")
    with pytest.raises(InputError) as told:
        sql(query.format(secret=secret, there=there), past.results, limit=10)
    assert "precious" not in str(told.value) and not there.exists()
    assert len(history(past.results).runs) == 1


def test_a_query_gives_so_many_rows(past: PastRuns) -> None:
    past.made()
    found = sql(
        "SELECT i, i / 0.0 AS none, DATE '2026-01-01' AS day FROM range(5) t(i)", past.results, limit=3
    )
    assert (found.columns, found.more) == (("i", "none", "day"), True)
    assert found.rows == tuple((i, None, "2026-01-01") for i in range(3))


WRITE = """
import sys
from pathlib import Path
from harness.store.run_folder import dated_folder
from harness.commands.history import history
results, template, many = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
import shutil
for _ in range(many):
    folder = dated_folder(results, "small")
    shutil.copytree(template, folder, dirs_exist_ok=True)
    print(folder.name, len(history(results).runs) > 0)
"""


def test_of_runs_begun_at_once_by_several_processes_none_is_lost(past: PastRuns, tmp_path: Path) -> None:
    """Each begins its runs in the same seconds as the others, and brings the index up to date meanwhile."""
    template = past.made().path.rename(tmp_path / "template-run")
    command = [sys.executable, "-c", WRITE, str(past.results), str(template), "2"]
    with ThreadPoolExecutor() as at_once:
        ended = list(
            at_once.map(
                lambda _: subprocess.run(command, capture_output=True, text=True, check=False), range(3)
            )
        )
    assert [each.returncode for each in ended] == [0, 0, 0], [each.stderr for each in ended]
    names = [line.split()[0] for each in ended for line in each.stdout.splitlines()]
    assert all(line.endswith("True") for each in ended for line in each.stdout.splitlines())
    assert len(set(names)) == 6
    found = history(past.results)
    assert sorted(listed(found)) == sorted(names) and found.skipped == ()


def test_a_folder_that_isnt_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no folder: name the one with your runs with --results"):
        history(tmp_path / "nowhere")


def test_every_outcome_can_be_asked_for() -> None:
    def flat(kind: object) -> set[object]:
        inner = get_args(kind)
        return {one for each in inner for one in flat(each)} if inner else {kind}

    assert flat(RunOutcome) == set(OUTCOMES)


def test_from_python(past: PastRuns) -> None:
    past.made(p99_s=0.02)
    assert harness.history(past.results).runs[0].p99_s == 0.02
    assert harness.trend("small", results=past.results).series[0].values[0].value == 0.02
