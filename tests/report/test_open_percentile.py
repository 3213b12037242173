"""A percentile whose upper limit the sample can't support: what can be said of it stands in its place."""

import io

import pytest
from rich.console import Console

from harness.report.markdown import summary
from harness.report.table import print_table
from tests.report import factory
from tests.report.browser import headings, rows

OPEN = {
    "p99": None,
    "sample": {"p99": 0.045},
    "at_least": {"p99": 0.0363},
    "more_s": {"p99": 14.0},
    "unsupported": {"p99": "the slow requests come in clusters: not even the p95 is known"},
}


def run():
    """The first point's p99 is open; the third point has too few requests for one."""
    whole = factory.run_of(verdicts={2: "inconclusive"})
    first = whole.points[0]
    figures = first.latency_s.model_copy(update=OPEN)
    points = (first.model_copy(update={"latency_s": figures}), *whole.points[1:])
    return whole.model_copy(update={"points": points})


def lines(width):
    out = io.StringIO()
    print_table(run(), Console(file=out, width=width))
    return out.getvalue().splitlines()


def test_a_terminal_shows_the_lower_limit_beside_the_sample_s_value_and_what_would_settle_it():
    printed = lines(200)
    assert any("≥ 36.3 (sample 45.0)" in line and "| valid" in line for line in printed)
    named = {line.partition(": ")[0]: line.partition(": ")[2] for line in printed if ": " in line}
    assert named["≥"].startswith("in 95 of 100 samples the truth is over this")
    assert named["no upper limit"] == OPEN["unsupported"]["p99"]
    assert "a p99 takes at least 381 requests" in named["–"] and "clusters" not in named["–"]
    assert named["to settle"].startswith("1 point without a p99: some 14 s more")


def test_where_room_is_short_the_limit_stays():
    assert any("≥ 36.3" in line and "sample" not in line for line in lines(70))


def test_the_summary_shows_the_same():
    text = summary(run())
    assert "| ≥ 36.3 (sample 45.0) |" in text
    assert f"No upper limit: {OPEN['unsupported']['p99']}." in text
    (dashes,) = (line for line in text.splitlines() if line.startswith("No value: "))
    assert "clusters" not in dashes


@pytest.mark.browser
def test_the_page_shows_the_same_in_a_muted_tone(show):
    browser = show(run())
    cell = dict(zip(headings(browser), rows(browser)[0]["cells"], strict=True))["p99"]
    assert cell.split("\n")[0].startswith("≥ 36.3") and "sample 45.0" in cell
    colours = browser.execute_script(
        "const row = document.querySelector('#points-table tbody tr');"
        "const open = [...row.querySelectorAll('.none')].find(e => e.innerText.startsWith('≥'));"
        "const faint = getComputedStyle(document.querySelector('.faint')).color;"
        "return [getComputedStyle(open).color, faint, getComputedStyle(row.cells[0]).color, open.title]"
    )
    assert colours[0] != colours[2], "muted"
    assert colours[3] == OPEN["unsupported"]["p99"]
    text = browser.find_element("tag name", "body").text
    assert "some 14 s more" in text and "≥: in 95 of 100 samples" in text
