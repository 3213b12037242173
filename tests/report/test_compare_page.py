"""A comparison of machines in words, and on its page in a real browser: it fits, and nothing in it acts."""

from __future__ import annotations

import pytest

from harness.comparison.compared import compared
from harness.comparison.unsaid import unsaid
from harness.report.compare_files import compared_summary
from harness.report.compare_words import answer_lines, bounds_words, ratio_words, rows
from harness.report.page.compare_page import compare_html, write_compare_page
from harness.schema.compare_result import EnvironmentDifference, HardwareComparison, Unfair
from harness.schema.scenario import Objective
from harness.schema.tune_result import Figure
from tests.comparison.subjects import SCENARIO, searched, subject
from tests.comparison.test_compared import PROVEN, machine, slower

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m | `x`"


def comparison(name: str = "NVIDIA L40S", *, unfair: bool = False) -> HardwareComparison:
    machines = [
        machine("NVIDIA H100 80GB HBM3", searched(subject(), proven=PROVEN), price=3.2),
        machine(name, searched(slower(subject(), 1.4), proven=Figure(value=90, low=85, high=97)), price=1.1),
        machine("NVIDIA L4", searched(slower(subject(), 2.0), proven=Figure(value=None, low=60, high=None))),
    ]
    allowed = (Unfair(name="length", why=f"measure is {name}"),) if unfair else ()
    workloads = compared(machines, [each.name for each in allowed])
    return HardwareComparison(
        run_id="20261201T000000Z-compare-demo",
        path="/somewhere",
        made_at="2026-12-01T00:00:00+00:00",
        harness_version="0.2.0",
        model="minilm",
        objective={"p99_ms": 200},
        currency="EUR",
        machines=tuple(each.record for each in machines),
        workloads=workloads,
        allowed=allowed,
        environment=(
            EnvironmentDifference(name="gpus.0.name", values=("NVIDIA H100", name, "L4"), weight="subject"),
            EnvironmentDifference(name="gpus.0.driver", values=("570", "550", "570"), weight="may explain"),
        ),
        unsaid=unsaid(machines, workloads),
        conclusive=False,
        why="a capacity isn't bracketed",
    )


def test_the_answer_is_a_sentence_of_each_machine() -> None:
    said = dict(answer_lines(comparison()))
    assert said["NVIDIA L40S"].startswith(
        "NVIDIA L40S has 0.600 (0.550–0.664) times the throughput of NVIDIA H100 80GB HBM3 with p99 up to "
        "200 ms: 90.0/s (85.0–97.0) against 150/s (140–160)"
    )
    assert said["NVIDIA L4"].startswith("which of NVIDIA L4 and NVIDIA H100 80GB HBM3 has more throughput")
    assert said["not conclusive"] == "a capacity isn't bracketed"
    assert (
        "allowed" not in said
        and "no figure here is a fair one" in dict(answer_lines(comparison(unfair=True)))["allowed"]
    )


def test_a_short_table_has_the_ends_of_what_both_were_asked() -> None:
    result = comparison()
    short, whole = list(rows(result, short=True)), list(rows(result))
    assert {row.what for row in whole} - {row.what for row in short} == {
        f"{name} at 100/s poisson" for name in ("p50 (ms)", "p99 (ms)", "GPU energy an inference (J)")
    }
    slow = next(row for row in whole if row.what == "p99 (ms) at 50/s poisson")
    assert slow.told == "slower"


def test_bounds_are_told_as_what_they_are() -> None:
    assert bounds_words(Figure(value=None, low=600, high=None)) == "at least 600/s"
    assert bounds_words(Figure(value=None, low=None, high=100)) == "under 100/s"
    assert bounds_words(Figure(value=None, low=None, high=None)) == "–"
    assert ratio_words(Figure(value=None, low=None, high=0.5)) == "at most 0.500"
    assert ratio_words(Figure(value=2.0, low=1.5, high=None)) == "2.00 (at least 1.50)"
    assert ratio_words(Figure(value=2.0, low=None, high=None)) == "2.00 (no interval)"


def test_the_summary_has_every_table_and_nothing_in_it_acts() -> None:
    text = "\n".join(compared_summary(comparison(HOSTILE, unfair=True)))
    assert "<img" not in text and "\x1b" not in text
    assert text.count("(unfair: length)") == 2
    assert "| gpus.0.driver | may explain | 570; 550; 570 |" in text.replace("\\", "")
    widths = {
        line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| NVIDIA L4 ")
    }
    assert widths <= {6, 9}, "no name makes a cell of its own"


def test_machines_without_anything_in_common_say_so() -> None:
    other = SCENARIO.model_copy(update={"objective": Objective()})
    result = comparison().model_copy(
        update={"workloads": compared([machine("A", subject(other)), machine("B", subject(other))], ())}
    )
    empty = result.workloads[0].figures[0].model_copy(update={"points": ()})
    bare = result.workloads[0].model_copy(update={"figures": (empty, empty, empty)})
    result = result.model_copy(update={"workloads": (bare,)})
    assert "The machines have no figure in common." in compare_html(result)
    assert "no load in common" in dict(answer_lines(result))["NVIDIA L4"]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 600])
def test_it_opens_fits_and_nothing_in_it_acts(browser, tmp_path, width) -> None:
    write_compare_page(comparison(HOSTILE, unfair=True), tmp_path / "compare.html")
    browser.set_window_size(width, 1000)
    browser.get((tmp_path / "compare.html").as_uri())
    root = "return document.documentElement"
    assert browser.execute_script(f"{root}.scrollWidth <= document.documentElement.clientWidth")
    assert not browser.execute_script("return document.images.length")
    charts = browser.find_elements("css selector", "svg.frontier")
    assert len(charts) == 2, "of the p50 and of the p99"
    for chart in charts:
        assert len(chart.find_elements("css selector", "circle")) == 9
        assert "unfair: length" in chart.text
        assert len(chart.find_elements("css selector", "polyline")) == 3
    assert len(browser.find_elements("css selector", "#unsaid tbody tr")) >= 4
    weights = [each.text for each in browser.find_elements("css selector", "#environment .badge")]
    assert weights == ["subject", "may explain"]
    inside = (
        "return [...document.querySelectorAll('svg.frontier circle')].every(c => {"
        "const x = +c.getAttribute('cx'), y = +c.getAttribute('cy');"
        "return x >= 64 && x <= 744 && y >= 12 && y <= 276})"
    )
    assert browser.execute_script(inside)
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    browser.set_window_size(1400, 1000)
