"""The evidence of `harness tune`: what its tables say of searches whose ends are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.commands.tuning.search import race_of
from harness.simulation.batcher import Batcher
from harness.store.scenario_file import load_scenario
from harness.tuning.capacity import Rated
from tests.evidence.known_server import EACH_S, FIXED_S, capacity
from tests.evidence.model_analyzer import best
from tests.evidence.tuning import BEGIN, END, SCENARIOS, Evidence, _next_rate, beside, table
from tests.written import show_and_write

BEST, WORSE = 7, 3


def around(capacity_per_s: float) -> list[dict[str, float]]:
    """Measurements of a configuration whose p99 is a power of the rate."""
    return [
        {"rate_per_s": share * capacity_per_s, "excess": excess, "error": 0.01}
        for share, excess in ((0.94, -0.3), (1.0, 0.0), (1.06, 0.3))
    ]


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    made = Evidence.of(tmp_path / "known")
    made.kept["grid"] = {
        str(number): {"capacity_per_s": 100.0 - 10 * (number != BEST), "seconds": 50.0}
        for number in range(48)
    }
    search: dict[str, Any] = {"load_s": 200.0, "took_s": 300.0, "steps": 30, "tried": 9}
    made.kept["searches"] = [search | {"recommended": BEST}, search | {"recommended": WORSE}]
    made.kept["turns"] = [{str(BEST): around(100.0), str(WORSE): around(90.0)} for _ in range(3)]
    return made


def test_the_regret_is_what_a_searchs_configuration_holds_less_of(evidence: Evidence) -> None:
    assert (evidence.best, evidence.compared, evidence.grid_s) == (BEST, [WORSE, BEST], 2400.0)
    made = table([evidence])
    assert "2400 (simulated)" in made and ": 100/s |" in made
    assert "| 1 | 200 | 9 |" in made and "| the same one |" in made
    assert "| 90.0% (±" in made
    assert "The regret of 2 searches is 5.0% in the middle and 10.0% at worst, with 8.3% to 8.3%" in made


def test_a_search_that_named_nothing_has_lost_all(evidence: Evidence) -> None:
    evidence.kept["searches"][1]["recommended"] = None
    assert "100.0% at worst" in table([evidence])


def test_model_analyzers_answers_stand_beside(evidence: Evidence) -> None:
    assert "Model Analyzer" not in beside([evidence])
    evidence.kept["analyzer"] = {"quick": {"recommended": WORSE, "took_s": 1234.0, "measurements": 21}}
    made = beside([evidence])
    assert "| Model Analyzer, quick | 1234 | 21 |" in made and "| 90 | 90.0% (±" in made
    assert "| harness tune, search 1 | 300 | 30 |" in made


def test_its_best_row_satisfies_the_constraint() -> None:
    def row(throughput: float, good: str, batch: int) -> dict[str, str]:
        return {
            "Satisfies Constraints": good,
            "Throughput (infer/sec)": str(throughput),
            "Max Batch Size": str(batch),
            "Instance Group": "2:CPU",
            "p99 Latency (ms)": "80.5",
        }

    found = best([row(100, "Yes", 4), row(300, "No", 16), row(200, "Yes", 8)], 60.0)
    assert (found.max_batch, found.instances, found.measurements) == (8, 2, 3)
    assert (found.throughput_per_s, found.p99_s, found.took_s) == (200.0, 0.0805, 60.0)
    assert best([row(300, "No", 16)], 60.0).max_batch is None


def test_rates_go_up_or_down_until_the_end_is_between_two() -> None:
    held, missed = Rated(100.0, -0.1, 0.01), Rated(150.0, 0.1, 0.01)
    assert _next_rate([held], 100.0, 400.0) == pytest.approx(115.0)
    assert _next_rate([held], 100.0, 110.0) == 110.0
    assert _next_rate([missed], 150.0, 400.0) < 120
    assert 115 < _next_rate([held, missed], 100.0, 400.0) < 130
    assert _next_rate([], 100.0, 400.0) == 100.0, "what couldn't be used is measured again"


def test_the_known_server_holds_more_with_batches_and_instances_and_never_more_than_it_serves() -> None:
    found = [capacity(Batcher(batch, 0.0, n), 0.3) for batch, n in ((1, 1), (1, 2), (16, 1), (16, 2))]
    assert found == sorted(found)
    most = [n * batch / (FIXED_S + EACH_S * batch) for batch, n in ((1, 1), (1, 2), (16, 1), (16, 2))]
    assert all(0.5 * top < value < top for value, top in zip(found, most, strict=True))


@pytest.mark.parametrize("model", SCENARIOS)
def test_each_grid_has_48_configurations_and_all_that_model_analyzer_may_name(
    tmp_path: Path, model: str
) -> None:
    made = Evidence.of(tmp_path / model)
    settings = race_of(load_scenario(made.folder / "scenario.yaml"), 600.0).space.configurations
    assert len(settings) >= 48
    batches = {each["server.max_batch"] for each in settings}
    assert batches == {2**power for power in range(len(batches))}


def test_a_table_is_put_between_its_marks_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\ntable\n{END}\nafter\n")
    show_and_write("| new \\1 |\n", page, BEGIN, END)
    assert page.read_text() == f"before\n{BEGIN}\n| new \\1 |\n{END}\nafter\n"
    show_and_write("shown\n", None, BEGIN, END)
    assert "shown" in capsys.readouterr().out
