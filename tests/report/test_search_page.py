"""The page of a search, in a real browser: what it says, that it fits, and that nothing in it acts."""

from __future__ import annotations

import itertools

import pytest

from harness.report.page.search_page import search_html, surfaces, write_search_page
from harness.report.search_words import answer_lines
from harness.schema.answer import Ratio
from harness.schema.tune_result import Candidate, Figure, Proof, Step, TuneResult


def candidate(number, settings, value, standing, **more):
    figure = Figure(value=value, low=value and value * 0.95, high=value and value * 1.05)
    usual = dict(why=None, served_per_s=120.0, foreseen_per_s=value or 50.0, cliff=None, measured_s=9.0)
    known = usual | dict(tries=3 if standing != "untried" else 0, at=None) | more
    return Candidate(number=number, settings=settings, standing=standing, capacity_per_s=figure, **known)


def search(**changed):
    """12 configurations; the second serves the most, and the third can't be told from it."""
    made = itertools.product((1, 4, 8), (0, 2000), (1, 2))
    names = ("server.max_batch", "server.queue_delay_us", "server.instances")
    settings = [dict(zip(names, each, strict=True)) for each in made]
    standings = ["slower", "best", "tied", "failed", *["untried"] * 8]
    values = [60.0, 104.0, 101.0, None, *[None] * 8]
    candidates = [
        candidate(n, each, value, standing, why="SIGKILL: out of memory" if standing == "failed" else None)
        for n, (each, value, standing) in enumerate(zip(settings, values, standings, strict=True))
    ]
    step = dict(stage="search", seconds=2.0, why="where the objective ends", took_s=3.0)
    steps = [
        Step(
            number=1,
            candidate=1,
            rate_per_s=None,
            users=16,
            told="served",
            served_per_s=120.0,
            point="a",
            **step,
        ),
        Step(
            number=2, candidate=1, rate_per_s=100.0, users=None, told="rated", excess=-0.2, point="b", **step
        ),
        Step(
            number=3, candidate=1, rate_per_s=110.0, users=None, told="rated", excess=0.3, point="c", **step
        ),
        Step(
            number=4,
            candidate=3,
            rate_per_s=None,
            users=16,
            told="failed",
            reason="SIGKILL",
            point=None,
            **step,
        ),
    ]
    whole = dict(
        run_id="20260102T030405Z-search",
        path="/somewhere",
        scenario="search",
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:14:05+00:00",
        objective={"p99_ms": 100.0, "errors": 0.001},
        budget_s=600.0,
        used_s=590.0,
        fixed={},
        default=0,
        best=1,
        recommended=1,
        why=None,
        decided=False,
        worth_going_on=0.012,
        proof=Proof(
            turns=3,
            capacities_per_s={
                "1": Figure(value=102.0, low=99.0, high=105.0),
                "0": Figure(value=60.0, low=58.0, high=62.0),
            },
            over_default=Ratio(value=1.7, interval_95=(1.6, 1.8)),
        ),
        candidates=tuple(candidates),
        steps=tuple(steps),
    )
    return TuneResult(**(whole | changed))


def test_the_answer_stands_first_and_says_how_sure_it_is():
    lines = dict(answer_lines(search()))
    assert lines["recommended"] == (
        "max batch 1, queue delay 0 µs, instances 2: 102 requests/s (99.0 to 105) "
        "with p99 ≤ 100 ms, errors ≤ 0.1%"
    )
    assert "1.70 (1.60 to 1.80) times its capacity" in lines["proven"]
    assert "which holds 60.0 requests/s (58.0 to 62.0)" in lines["proven"]
    assert lines["can't be told from the best"] == "max batch 1, queue delay 2000 µs, instances 1"
    assert "4 of 12 configurations tried in 4 measurements" in lines["search"]
    assert "going on would gain 1.2%" in lines["search"]


def test_a_search_without_an_answer_says_what_came_nearest():
    why = "no configuration holds the objective at any rate that was measured; the nearest was …"
    nothing = search(best=None, recommended=None, why=why, worth_going_on=None, proof=None)
    assert next(iter(answer_lines(nothing))) == ("no answer", why)
    assert "No configuration holds the objective" in search_html(nothing)


def test_the_surface_has_a_table_for_each_combination_of_the_other_settings():
    found = surfaces(search())
    assert [s.caption for s in found] == ["instances 1", "instances 2"]
    assert found[0].across == "max batch"
    assert found[0].columns == ["1", "4", "8"]
    assert [name for name, _ in found[0].rows] == ["0", "2000"]
    best = found[1].rows[0][1][0]
    assert best is not None
    assert (best.text, best.measured, best.best) == ("104", True, True)
    failed = found[1].rows[1][1][0]
    assert failed is not None
    assert (failed.text, failed.title) == ("failed", "SIGKILL: out of memory")
    foreseen = found[0].rows[0][1][1]
    assert foreseen is not None
    assert not foreseen.measured


def test_a_search_of_one_setting_or_none_has_a_page():
    one = [
        candidate(0, {"server.max_batch": 1}, 50.0, "slower"),
        candidate(1, {"server.max_batch": 8}, 90.0, "best"),
    ]
    assert len(surfaces(search(candidates=tuple(one)))) == 1
    none = search(candidates=(candidate(0, {}, 50.0, "best"),), best=0, recommended=0, steps=(), proof=None)
    assert surfaces(none) == []
    assert "the only configuration" in search_html(none)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 700])
def test_it_opens_fits_and_nothing_in_it_acts(browser, tmp_path, width):
    hostile = "<img src=x onerror=alert(1)>\x1b[31m"
    write_search_page(search(scenario=hostile), tmp_path / "tune.html")
    browser.set_window_size(width, 1000)
    browser.get((tmp_path / "tune.html").as_uri())
    root = "return document.documentElement"
    assert browser.execute_script(f"{root}.scrollWidth <= document.documentElement.clientWidth")
    assert not browser.execute_script("return document.images.length")
    assert browser.find_element("css selector", "h1").text == "max batch 1, queue delay 0 µs, instances 2"
    assert len(browser.find_elements("css selector", "#curves circle")) == 2
    assert len(browser.find_elements("css selector", "#configurations tbody tr")) == 4
    assert len(browser.find_elements("css selector", "#steps tbody tr")) == 4
    assert "104" in browser.find_element("css selector", "#surface td.best").text
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    browser.set_window_size(1400, 1000)
