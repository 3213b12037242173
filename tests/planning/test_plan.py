"""`harness plan` by finished runs of a server whose service times are known."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.commands import plan as story
from harness.commands.planning import evidence, hardware_plan
from harness.commands.progress import Progress
from harness.planning.demand import Demand
from harness.planning.replica import capacity
from harness.planning.service_times import KindTimes
from harness.schema.errors import HarnessError, InputError
from harness.schema.plan_result import HardwarePlan, PlanResult
from harness.schema.point import Point, PointClass
from harness.schema.sequence_length import SequenceLength
from harness.store import plan_file
from harness.store.run_folder import open_run
from harness.store.scenario_file import load_scenario
from tests.planning.simulated_runs import CLOSED, SCENARIO, Truth, simulated_run
from tests.report.factory import environment
from tests.store.finished import asked_for


@pytest.fixture(autouse=True)
def _short_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the page's curve two rates are enough."""
    monkeypatch.setattr(hardware_plan, "CURVE", (0.5, 1.0))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of two runs: open loops, and closed ones."""
    results = tmp_path_factory.mktemp("measured") / "results"
    closed = simulated_run(results, CLOSED)
    return simulated_run(results, SCENARIO).path, closed.path


@pytest.fixture
def place(tmp_path: Path, measured: tuple[Path, Path]) -> Path:
    """A folder of one's own with both runs, whose scenario is `small.yaml` in it."""
    for run in measured:
        shutil.copytree(run, tmp_path / "results" / run.name)
    return tmp_path


def plan(place: Path, text: str = SCENARIO, **options: Any) -> PlanResult:
    file = place / "small.yaml"
    file.write_text(text)
    options.setdefault("sources", sorted(path.parent for path in (place / "results").glob("*/result.json")))
    return harness.plan(file, results=place / "results", quiet=True, **options)


def only(result: PlanResult) -> HardwarePlan:
    (found,) = result.hardware
    return found


def test_the_replicas_are_those_of_the_truth(place: Path) -> None:
    """The service times of `Truth`, simulated without what was measured of them."""
    result = plan(place)
    found = only(result)
    assert story.exit_code(result) == 0 and found.why is None
    assert found.capacity_per_s is not None and found.replicas is not None and found.trust is not None
    truth = Truth()
    true_s = {each.batch: truth.fixed_s[0] + truth.each_s[0] * each.batch for each in found.service}
    assert {each.batch: each.seconds for each in found.service} == pytest.approx(true_s, rel=0.05)
    model = _true_model()
    wanted = capacity(model, {0.99: 0.03})
    assert wanted is not None and found.capacity_per_s.low is not None and found.capacity_per_s.high
    assert found.capacity_per_s.value == pytest.approx(wanted, rel=0.05)
    assert found.capacity_per_s.low < wanted < found.capacity_per_s.high
    assert found.replicas.low is not None and found.replicas.high is not None
    assert found.replicas.low <= 5000 / 0.8 / wanted + 1 and found.replicas.high >= 5000 / 0.8 / wanted - 1
    assert len(found.trust.checks) == 6 and sum(each.held for each in found.trust.checks) >= 5
    assert found.at_peak is not None and found.at_peak.p99_s < 0.03
    assert [each.what for each in found.breaks] == ["p99 ≤ 30 ms", "the queue grows without end"]
    assert found.points_used == 8 and found.energy is None and found.outgrown is None and found.day == ()


def _true_model() -> Any:
    import numpy as np

    from harness.planning.replica import Replica
    from harness.planning.service_times import ServiceTimes
    from harness.simulation.batcher import Batcher
    from tests.planning.simulated_runs import OVERHEAD_S

    truth, sizes = Truth(), np.arange(1.0, 9.0)
    noise = np.random.default_rng(9).gamma(truth.cv**-2, truth.cv**2, 5000)
    kind = KindTimes(sizes, truth.fixed_s[0] + truth.each_s[0] * sizes, noise)
    return Replica(
        Batcher(max_batch=8), ServiceTimes((kind,), OVERHEAD_S, math.inf, 0.0), Demand((1.0,), (1,))
    )


def test_what_is_on_disk_and_printed_is_the_plan(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = plan(place)
    folder = open_run(Path(result.path))
    assert plan_file.read(folder) == result
    assert json.loads((folder.path / "plan.json").read_text())["schema_version"] == 1
    assert "replicas" in (folder.path / "plan.html").read_text()
    story.show(result)
    said = capsys.readouterr().out
    assert "demand: 5,000 requests/s at the busiest time" in said
    assert "cost: not known: no price is given for" in said and "--hardware" in said
    assert "6 of 6 measured rates" in said or "5 of 6 measured rates" in said


def test_without_a_source_it_is_the_newest_run_of_the_scenario(tmp_path: Path) -> None:
    """Of the two runs the later one has no single user: what the plan can't say has its remedy."""
    for text in (CLOSED, SCENARIO):
        newest = simulated_run(tmp_path / "results", text.replace("duration_s: 20", "duration_s: 3"))
    plan(tmp_path, sources=[newest.path])  # its own folder is newer, and has no points
    result = plan(tmp_path, sources=())
    assert only(result).sources == (str(newest.path),)
    found = only(result)
    assert story.exit_code(result) == 3 and found.replicas is None
    assert found.why == "no single user sent text by itself, so that how its service times vary isn't known"
    assert found.remedy is not None and "--observe" in found.remedy


DAILY = (
    "plan: {daily: [500, 500, 2000, 5000], growth_per_year: 1.0, years: 1, start_up_s: 3600, failures: 1}\n"
)


def test_a_day_with_growth_prices_and_losses(place: Path) -> None:
    (place / "hw.yaml").write_text(
        "currency: EUR\nhardware:\n"
        "  - {name: xeon, matches: platinum 8481c, price_per_hour: 0.5, power_w: 200}\n"
    )
    text = SCENARIO.replace("plan: {rate_per_s: 5000}\n", DAILY)
    result = plan(place, text, hardware=place / "hw.yaml")
    found = only(result)
    assert found.name == "xeon" and result.demand.rate_per_s == 10_000 and result.demand.today_per_s == 5000
    assert found.replicas is not None and found.money is not None and found.energy is not None
    assert [part.rate_per_s for part in found.day] == [1000, 1000, 4000, 10_000]
    night, before, morning, noon = (part.replicas for part in found.day)
    assert noon == found.replicas.value == morning, "what starts an hour before has to be there"
    assert night < before < morning and found.lost == 1
    assert found.money.per_hour == 0.5 * noon and found.money.per_day == 12 * noon
    scaled = 0.5 * 6 * (night + before + morning + noon)
    assert found.money.per_day_scaled == pytest.approx(scaled)
    inferences = 6 * 3600 * (1000 + 1000 + 4000 + 10_000)
    assert found.money.per_million_inferences == pytest.approx(scaled / inferences * 1e6)
    assert not found.energy.measured
    assert found.energy.joules_per_inference == pytest.approx(200 / (10_000 / noon))
    assert found.outgrown is not None and found.holds_per_s is not None and found.holds_per_s >= 10_000


def test_two_kinds_of_hardware_the_cheaper_first(place: Path) -> None:
    fast = Truth(fixed_s=(0.0015,), each_s=(0.0004,))
    for text in (CLOSED, SCENARIO.replace("650]", "650, 900, 1200]")):
        simulated_run(place / "results", text, fast, where=environment(gpu=True))
    (place / "hw.yaml").write_text(
        "hardware:\n  - {name: H100, price_per_hour: 9}\n  - {name: Xeon, price_per_hour: 0.5}\n"
    )
    result = plan(place, hardware=place / "hw.yaml")
    assert [each.name for each in result.hardware] == ["Xeon", "H100"]
    slow, quick = (each.replicas for each in result.hardware)
    assert slow is not None and quick is not None and quick.value < slow.value
    dear = (place / "hw.yaml").read_text().replace("0.5}", "50}")
    (place / "hw.yaml").write_text(dear)
    assert [each.name for each in plan(place, hardware=place / "hw.yaml").hardware] == ["H100", "Xeon"]


def test_points_that_are_invalid_are_left_out_and_told(place: Path, measured: tuple[Path, Path]) -> None:
    (open_loops,) = [run for run in (place / "results").iterdir() if run.name == measured[0].name]
    spoiled = json.loads((open_loops / "run.json").read_text())["planned"][0]
    begun = open_loops / "points" / spoiled / "point.json"
    record = json.loads(begun.read_text())
    record["point"]["validity"]["client_cpu"] = 0.001
    begun.write_text(json.dumps(record))
    found = only(plan(place))
    assert found.points_used == 7 and found.replicas is not None
    assert sum(found.left_out.values()) == 1 and next(iter(found.left_out)).startswith("invalid: ")


def test_where_all_are_invalid_the_data_cannot_say(place: Path) -> None:
    for run in (place / "results").iterdir():
        asked_for(open_run(run), validity={"client_cpu": 0.001})
    result = plan(place)
    assert story.exit_code(result) == 3 and only(result).why is not None
    assert sum(only(result).left_out.values()) == 8


def test_an_objective_that_nothing_holds_is_1(place: Path) -> None:
    result = plan(place, SCENARIO.replace("p99_ms: 30", "p99_ms: 4"))
    assert story.exit_code(result) == 1
    assert "missed at any rate" in (only(result).why or "") and only(result).trust is not None


def test_points_of_another_size_are_not_of_the_scenario(place: Path) -> None:
    result = plan(place, SCENARIO.replace("tokens: 16", "tokens: 32"))
    assert story.exit_code(result) == 3
    assert only(result).left_out == {"of other requests than the scenario's": 8}


def test_a_single_users_requests_share_with_no_other_instance(tmp_path: Path) -> None:
    """Only one of three computes at a time, so that it takes as long as it takes alone."""
    run = simulated_run(tmp_path / "results", CLOSED.replace("max_batch: 8", "max_batch: 8, instances: 3"))
    loaded = load_scenario(tmp_path / "small.yaml")
    (found,) = evidence.gather(loaded, [run], Demand((1.0,), (1,)), Progress(quiet=True)).evidence
    assert {look.alone_s is not None: look.instances for look in found.looks} == {True: 1, False: 3}


def test_classes_that_ask_for_other_work_are_not_taken_for_each_other() -> None:
    plain = dict(weight=1.0, batch=1, axes={}, payload=None, folder=None, low=0.0, high=1.0)
    one = PointClass(name="a", **plain)  # type: ignore[arg-type]
    few, long = (
        one.model_copy(update=changed) for changed in ({"outputs": ("y",)}, {"sequence": SequenceLength()})
    )
    same = one.model_copy(update={"name": "b", "weight": 9.0, "high": 5.0})
    assert evidence.kinds_of([one, few], point_of(same, few)) == [0, 1]
    assert evidence.kinds_of([few, one], point_of(same)) == [1]
    assert evidence.kinds_of([one, few], point_of(long)) is None


def point_of(*classes: PointClass) -> Point:
    return Point.model_construct(requests=classes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("plan: {rate_per_s: 5000}\n", ""), "doesn't say how much is asked of it: give --rate-per-s"),
        (("objective: {p99_ms: 30}\n", ""), "no objective for latency"),
        (("tokens: 16", "tokens: [16, 32]"), "has several values of requests.text.tokens"),
        (("model: minilm", "model: encoder"), "is of the model minilm, and small of encoder"),
        (("plan: {rate_per_s: 5000}", "plan: {rate_per_s: 5, daily: [1, 2]}"), "are two demands: keep one"),
        (("plan: {rate_per_s: 5000}", "plan: {trace: nowhere.txt}"), "nowhere.txt"),
        (("plan: {rate_per_s: 5000}", "plan: {rate_per_s: 5, hardware: hw.yaml}"), "hw.yaml can't be read"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(place: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        plan(place, SCENARIO.replace(*change))
    assert "\n" not in str(raised.value)


def test_results_of_another_export_are_not_mixed(place: Path) -> None:
    later = sorted((place / "results").iterdir())[-1]
    model = json.loads((later / "model.json").read_text())
    (later / "model.json").write_text(json.dumps(model | {"sha256": "0" * 64}))
    with pytest.raises(InputError, match="has another export of minilm than the results before it"):
        plan(place)


def test_a_place_without_results_says_what_makes_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no finished run or search of small: measure it with"):
        plan(tmp_path, sources=())
    with pytest.raises(HarnessError, match="isn't a run's folder"):
        plan(tmp_path, sources=[tmp_path])


def test_a_trace_is_planned_for_its_busiest_minute(place: Path) -> None:
    """A minute of one a second, then one of 50 a second in bursts of ten."""
    quiet = [float(second) for second in range(60)]
    busy = [60 + burst * 0.2 + 1e-4 * each for burst in range(300) for each in range(10)]
    (place / "trace.txt").write_text("\n".join(f"{when:.6f}" for when in [*quiet, *busy]))
    text = SCENARIO.replace("plan: {rate_per_s: 5000}", "plan: {trace: trace.txt, headroom: 0}")
    result = plan(place, text)
    assert result.demand.rate_per_s == pytest.approx(50, abs=1)
    assert "busiest minute of trace.txt" in result.demand.arrivals
    spaced = plan(place, text, rate_per_s=50)
    bursty, even = only(result).at_peak, only(spaced).at_peak
    assert bursty is not None and even is not None and bursty.p90_s > 1.3 * even.p90_s


def test_a_mix_takes_each_class_by_itself(tmp_path: Path) -> None:
    """Two classes, and a prediction of their mix from points in which each was alone."""
    both = "  - {name: short, tokens: 16, weight: 8}\n  - {name: long, tokens: 64, weight: 2}\n"
    one = "  - {name: text, tokens: 16}\n"
    truth = Truth(fixed_s=(0.003, 0.008), each_s=(0.0009, 0.004))
    results = tmp_path / "results"
    mixed = SCENARIO.replace(one, both).replace("[100, 250, 400, 500, 600, 650]", "[40, 80, 120, 150]")
    simulated_run(results, mixed, truth)
    assert "by itself" in (only(plan(tmp_path, mixed)).why or "")
    for number, line in enumerate(both.splitlines(keepends=True)):
        alone = Truth((truth.fixed_s[number],), (truth.each_s[number],), seed=number)
        simulated_run(results, CLOSED.replace(one, line), alone)
    found = only(plan(tmp_path, mixed))
    assert found.trust is not None and found.replicas is not None, found.why
    assert found.trust.correction == pytest.approx(1.0, abs=0.06)
    assert {each.request for each in found.service} == {"short", "long"}
    half = mixed.replace("weight: 8", "weight: 1").replace("weight: 2", "weight: 1")
    other = only(plan(tmp_path, half))
    assert other.replicas is not None and other.trust is not None, "a mix that was never measured"
    assert other.trust.checks == found.trust.checks and other.replicas.value > found.replicas.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hardware: []\n", "hw.yaml:1"),
        ("- 1\n", "is a mapping with `hardware:`"),
        ("hardware:\n  - {name: a}\n  - {name: a}\n", "two kinds of hardware are named 'a'"),
        ("hardware:\n  - {name: a, prise_per_hour: 1}\n", "hw.yaml:2: .*prise_per_hour"),
    ],
)
def test_a_hardware_file_that_is_none_is_told_with_its_line(place: Path, text: str, words: str) -> None:
    (place / "hw.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        plan(place, hardware=place / "hw.yaml")
