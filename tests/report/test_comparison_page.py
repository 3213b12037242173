"""A comparison in words, and on its page in a real browser: what it says, that it fits, that nothing acts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.report.comparison_words import comparison_lines, round_line
from harness.report.page.comparison_page import comparison_html, write_comparison_page
from harness.schema.ab_result import ArmFigures, Comparison
from harness.verdict.judge import RoundsOfPoint, judge, worst
from tests.report.factory import environment
from tests.verdict.test_judge import TERMS, made


def comparison(name: str = "after", **changed: object) -> Comparison:
    rng = np.random.default_rng(3)
    points = judge(
        [
            RoundsOfPoint("1 user", {}, [made(rng) for _ in range(10)]),
            RoundsOfPoint("8 users", {}, [made(rng, slower=0.06) for _ in range(8)]),
        ],
        TERMS,
    )
    where = environment(gpu=False)
    whole = dict(
        run_id="20261130T000000Z-before-vs-after",
        path="/somewhere",
        started_at="2026-11-30T20:00:00+00:00",
        finished_at="2026-11-30T20:09:00+00:00",
        harness_version="0.2.0",
        terms=TERMS,
        in_turns=True,
        arms=(
            ArmFigures(name="baseline", scenario="before", models=(), environment=where, samples="baseline"),
            ArmFigures(name="candidate", scenario=name, models=(), environment=where, samples="candidate"),
        ),
        differs={"server.max_batch": ("1", "8")},
        points=points,
        outcome=worst([point.outcome for point in points]),
        measured_s=512.0,
    )
    return Comparison(**(whole | changed))


def test_the_verdict_is_a_few_sentences() -> None:
    lines = list(comparison_lines(comparison()))
    told = dict(lines)
    assert told["compared"] == "after (candidate) with before (baseline), side by side, in turns"
    assert told["differs in"] == "server.max_batch 1 → 8"
    assert told["8 users"] == "regressed; 8 rounds on servers started anew, 2.0 min"
    assert told["moved"].startswith("compute +6.") and told["moved"].endswith("time of a request")
    assert told["verdict"] == "regressed, 1 pass, 1 regressed of 2 points, after 8.5 min"
    of_second = dict(lines[lines.index(("8 users", told["8 users"])) :])
    assert of_second["p50"].startswith("regressed: +6.") and " ms to " in of_second["p50"]
    assert "minutes of it would settle it" in of_second["p99"]
    assert dict(comparison_lines(comparison(differs={})))["differs in"] == "nothing: the arms are equal"


def test_a_round_says_what_is_still_open() -> None:
    said = round_line(8, comparison())
    assert said.startswith("round 8: 1 user: ") and "; 8 users: throughput -" in said


def test_what_was_never_measured_has_no_figure() -> None:
    nothing = judge([RoundsOfPoint("1 user", {})], TERMS)
    empty = comparison(points=nothing, outcome="inconclusive")
    assert "No round counts." in comparison_html(empty)
    assert dict(comparison_lines(empty))["verdict"] == "inconclusive, after 8.5 min"


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 700])
def test_it_opens_fits_and_nothing_in_it_acts(browser, tmp_path, width) -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[31m"
    found = comparison(hostile, differs={hostile: (hostile, hostile)})
    write_comparison_page(found, tmp_path / "ab.html")
    browser.set_window_size(width, 1000)
    browser.get((tmp_path / "ab.html").as_uri())
    root = "return document.documentElement"
    assert browser.execute_script(f"{root}.scrollWidth <= document.documentElement.clientWidth")
    assert not browser.execute_script("return document.images.length")
    assert len(browser.find_elements("css selector", "#changes tbody tr")) == 8
    outcomes = [e.text for e in browser.find_elements("css selector", "#changes .badge")]
    assert outcomes.count("regressed") == 2 and outcomes[:4] == ["pass"] * 4
    assert len(browser.find_elements("css selector", ".change .round")) == 4 * 10 + 4 * 8
    inside = (
        "return [...document.querySelectorAll('.change span')].every(e => {"
        "const a = e.getBoundingClientRect(), b = e.parentElement.getBoundingClientRect();"
        "return a.left >= b.left - 4 && a.right <= b.right + 4})"
    )
    assert browser.execute_script(inside)
    assert [e.text for e in browser.find_elements("css selector", ".part.told")] == [""]
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    browser.set_window_size(1400, 1000)
