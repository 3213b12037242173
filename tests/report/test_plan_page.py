"""A plan in words, and on its page in a real browser: what it says, that it fits, that nothing in it acts."""

from __future__ import annotations

import pytest

from harness.report.page.band import band_chart
from harness.report.page.curve import BOTTOM, LEFT, RIGHT, TOP
from harness.report.page.plan_page import plan_html, write_plan_page
from harness.report.plan_words import plan_lines
from harness.schema.plan_result import (
    BatchTime,
    Break,
    CheckedPoint,
    Count,
    CurvePoint,
    DemandFigures,
    Energy,
    HardwarePlan,
    Money,
    PartOfDay,
    PlanResult,
    Range,
    TrustFigures,
    Verification,
)
from tests.report.factory import environment


def curve_point(rate, slow=1.0):
    return CurvePoint(
        rate_per_s=rate,
        mean_s=0.011 * slow,
        p50_s=0.010 * slow,
        p90_s=0.018 * slow,
        p99_s=0.026 * slow,
        limit_low_s=0.022 * slow,
        limit_high_s=0.034 * slow,
        limit_s=0.05,
        busy=0.7,
    )


def check(point, held=True):
    return CheckedPoint(
        point=point,
        rate_per_s=90.0,
        percentile="p99",
        measured_s=0.030,
        predicted_s=0.029,
        low_s=0.026,
        high_s=0.033 if held else None,
        held=held,
    )


def hardware(**changed):
    whole = dict(
        name="box",
        environment=environment(gpu=False),
        sources=("/somewhere/20260101T000000Z-a",),
        configuration={"server.max_batch": 8, "server.instances": 1, "dtype": None, "protocol": "http"},
        points_used=8,
        left_out={"invalid: other processes used the machine": 2},
        why=None,
        remedy=None,
        service=(
            BatchTime(request="text", batch=1, seconds=0.004),
            BatchTime(request="text", batch=8, seconds=0.01),
        ),
        overhead_s=0.0004,
        trust=TrustFigures(
            correction=1.02, factor=1.08, checks=(check("a"), check("b"), check("c", held=False))
        ),
        capacity_per_s=Range(value=120.0, low=110.0, high=131.0),
        replicas=Count(value=11, low=10, high=12),
        lost=1,
        at_peak=curve_point(1000.0),
        curve=(curve_point(100.0, 0.8), curve_point(1000.0), curve_point(1300.0, 4.0)),
        breaks=(
            Break(what="p99 ≤ 50 ms", rate_per_s=1280.0),
            Break(what="the queue grows without end", rate_per_s=1500.0),
        ),
        holds_per_s=1024.0,
        outgrown="2027-03-01",
        day=tuple(
            PartOfDay(begins_h=6.0 * n, rate_per_s=r, replicas=k)
            for n, (r, k) in enumerate([(100, 2), (400, 5), (1000, 11), (300, 4)])
        ),
        money=Money(
            currency="EUR", per_hour=5.5, per_day=132.0, per_day_scaled=66.0, per_million_inferences=1.7
        ),
        energy=Energy(joules_per_inference=0.5, per_million_inferences_kwh=0.139, measured=True),
        narrows="5 more points would say how long a batch takes to ±5.0%, and not ±8.0%",
    )
    return HardwarePlan(**(whole | changed))


def plan(*kinds, **changed):
    whole = dict(
        run_id="20260102T030405Z-small",
        path="/somewhere/20260102T030405Z-small",
        scenario="small",
        made_at="2026-01-02T03:04:05+00:00",
        harness_version="0.2.0",
        model="minilm",
        demand=DemandFigures(
            rate_per_s=1000.0,
            today_per_s=500.0,
            inferences_per_request=1.0,
            growth_per_year=1.0,
            years=1.0,
            daily_per_s=(50, 200, 500, 150),
            arrivals="poisson",
        ),
        objective={"p99_ms": 50.0},
        balancer="round_robin",
        headroom=0.2,
        failures=1,
        zones=None,
        start_up_s=60.0,
        hardware=kinds or (hardware(),),
    )
    return PlanResult(**(whole | changed))


def test_the_answer_is_a_few_sentences():
    lines = dict(plan_lines(plan()))
    assert lines["demand"] == (
        "1,000 requests/s at the busiest time (500 today, 100% more each year, 1 year), poisson arrivals, "
        "round robin; 20% stays free, and 1 replica may be lost"
    )
    assert lines["objective"] == "p99 ≤ 50 ms"
    assert lines["hardware"] == "box: max batch 8, instances 1"
    assert lines["replicas"] == "11 (10 to 12), of which 1 may be lost"
    assert lines["one replica"] == "holds the objective up to 120 requests/s (110 to 131)"
    assert "p99 26.0 ms; the limit of 50.0 ms is held with 22.0 to 34.0 ms" in lines["at the busiest time"]
    assert lines["breaks first"] == "p99 ≤ 50 ms from 1,280/s; then the queue grows without end from 1,500/s"
    assert lines["outgrown"] == "2027-03-01, at 1,024 requests/s"
    assert lines["cost"].startswith("1.70 EUR a million inferences, 5.50 EUR an hour; 66.0 EUR a day where")
    assert lines["energy"] == "0.139 kWh a million inferences (measured)"
    assert lines["trust"] == (
        "2 of 3 measured rates lie where the others say; service times are right to ±8.0%, and were "
        "corrected by +2.0%"
    )
    assert lines["left out"] == "2 points, the first because: invalid: other processes used the machine"


def test_what_the_data_cannot_say_has_its_remedy_and_no_figure():
    nothing = hardware(why="nothing was measured", remedy="measure it", replicas=None, trust=None, money=None)
    lines = dict(plan_lines(plan(nothing)))
    assert lines["can't say"] == "nothing was measured; measure it"
    assert not {"replicas", "cost", "trust"} & lines.keys()
    assert "say how many replicas it takes</h1>" in plan_html(plan(nothing))


@pytest.mark.parametrize(
    ("held", "words"),
    [(True, "the prediction held"), (False, "the prediction didn't hold"), (None, "it can't be told")],
)
def test_a_check_says_whether_the_prediction_held(held, words):
    found = Verification(
        point="p", rate_per_s=90.0, replicas=1, percentile="p99", measured_s=0.03, low_s=0.02, high_s=0.04,
        held=held, why="the p99 is 30.0 ms",
    )  # fmt: skip
    lines = dict(plan_lines(plan(verification=(found,))))
    assert lines["verified"] == f"{words} at 90.0 requests/s: the p99 is 30.0 ms"


def test_every_line_of_the_chart_lies_in_it():
    chart = band_chart(hardware().curve, 1000.0)
    for points in (chart.band, *(line.points for line in chart.lines)):
        for pair in points.split():
            x, y = map(float, pair.split(","))
            assert LEFT <= x <= RIGHT and TOP <= y <= BOTTOM
    assert LEFT < chart.peak_x < RIGHT and TOP < chart.limit_y < BOTTOM
    assert 2 <= len(chart.up) <= 10


@pytest.mark.browser
@pytest.mark.parametrize("width", [1300, 700])
def test_it_opens_fits_and_nothing_in_it_acts(browser, tmp_path, width):
    hostile = "<img src=x onerror=alert(1)>\x1b[31m"
    dear = hardware(name="card", money=None, no_money="no price is given for card")
    write_plan_page(plan(hardware(), dear, scenario=hostile), tmp_path / "plan.html")
    browser.set_window_size(width, 1000)
    browser.get((tmp_path / "plan.html").as_uri())
    root = "return document.documentElement"
    assert browser.execute_script(f"{root}.scrollWidth <= document.documentElement.clientWidth")
    assert not browser.execute_script("return document.images.length")
    assert browser.find_element("css selector", "h1").text == "11 replicas of box"
    assert len(browser.find_elements("css selector", "#hardware tbody tr")) == 2
    assert len(browser.find_elements("css selector", "svg.curve polyline")) == 8
    assert [e.text for e in browser.find_elements("css selector", ".day b")] == ["2", "5", "11", "4"] * 2
    assert len(browser.find_elements("css selector", "td.missed")) == 4, "two in a curve each, and two checks"
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    browser.set_window_size(1400, 1000)
