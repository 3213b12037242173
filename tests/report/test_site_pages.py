"""The site's pages in a real browser: filters over 10,000 runs, the address that keeps them, charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from harness.report.page.runs_page import DATA, MOST_ROWS, runs_html, runs_script
from harness.report.page.scenario_page import MOST_LISTED, MOST_SERIES, scenario_html
from harness.report.page.trend_chart import FIGURES, axis_of, environment_changes, trend_chart
from harness.schema.history_result import METRICS, HistoryRun, SkippedFolder, TrendValue
from harness.schema.site_result import ScenarioPage
from tests.hostile import ACTING, HONEST, HOSTILE
from tests.report.browser import complaints, requested, visit
from tests.report.past_nights import at, nights, past_run, past_runs

MANY = 10_000
RUNS = past_runs(MANY)
WITH_A_PAGE = {run.folder: f"../{run.folder}/report.html" for run in RUNS if run.kind != "tune"}
SCENARIOS = (ScenarioPage(scenario="quickstart", page="scenario-quickstart.html"),)

SHOWN = (
    "return [...document.querySelectorAll('#runs-table tbody tr')]"
    ".map(row => [...row.cells].map(cell => cell.innerText))"
)
RUN, SCENARIO, HOST, KIND, OUTCOME = 1, 2, 4, 6, 7


def written(folder: Path, runs: Sequence[HistoryRun] = RUNS, skipped: Sequence[SkippedFolder] = ()) -> Path:
    """The list of runs, as `harness site` writes it."""
    folder.mkdir(exist_ok=True)
    page = runs_html(runs, WITH_A_PAGE, SCENARIOS, skipped, made_at=at(500), results="results")
    (folder / "index.html").write_text(page)
    (folder / DATA).write_text(runs_script(runs, WITH_A_PAGE, SCENARIOS))
    return folder / "index.html"


@pytest.fixture(scope="module")
def list_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("site"))


@pytest.fixture
def list_of_runs(browser: Any, list_page: Path) -> Iterator[Any]:
    visit(browser, list_page)
    yield browser
    assert complaints(browser) == [] and requested(browser) == []


def choose(browser: Any, name: str, value: str) -> None:
    browser.execute_script(
        "const input = document.querySelector(`[data-filter=${arguments[0]}]`);"
        "input.value = arguments[1]; input.dispatchEvent(new Event('input'))",
        name,
        value,
    )


def counted(browser: Any) -> str:
    text: str = browser.find_element("id", "count").text
    return text


def shown(browser: Any) -> list[list[str]]:
    rows: list[list[str]] = browser.execute_script(SHOWN)
    return rows


@pytest.mark.browser
def test_of_ten_thousand_runs_a_page_is_shown(list_of_runs: Any) -> None:
    rows = shown(list_of_runs)
    assert [row[RUN] for row in rows] == [run.folder for run in RUNS[:100]]
    assert counted(list_of_runs) == "10,000 of 10,000 runs"
    list_of_runs.find_element("id", "older").click()
    assert [row[RUN] for row in shown(list_of_runs)] == [run.folder for run in RUNS[100:200]]
    assert list_of_runs.execute_script("return location.hash") == "#page=2"
    list_of_runs.find_element("id", "newer").click()
    assert shown(list_of_runs) == rows and not list_of_runs.find_element("id", "newer").is_enabled()


@pytest.mark.browser
def test_filters_leave_what_fits_all_of_them_and_the_address_brings_it_back(list_of_runs: Any) -> None:
    choose(list_of_runs, "scenario", "quickstart")
    choose(list_of_runs, "outcome", "regressed")
    fitting = [run for run in RUNS if (run.scenario, run.outcome) == ("quickstart", "regressed")]
    rows = shown(list_of_runs)
    assert 200 < len(fitting) < MANY and counted(list_of_runs) == f"{len(fitting):,} of 10,000 runs"
    assert [row[RUN] for row in rows] == [run.folder for run in fitting[:100]]
    choose(list_of_runs, "kind", "nightly")
    choose(list_of_runs, "host", "bench-2")
    choose(list_of_runs, "since", "2024-07-01")
    choose(list_of_runs, "text", "EPYC quickSTART")
    fitting = [
        run
        for run in fitting
        if (run.kind, run.host, run.hardware) == ("nightly", "bench-2", "AMD EPYC 9354")
        and run.started_at >= "2024-07-01"
    ]
    rows = shown(list_of_runs)
    assert fitting and [row[RUN] for row in rows] == [run.folder for run in fitting[:100]]
    address = list_of_runs.current_url
    list_of_runs.get("about:blank")
    list_of_runs.get(address)
    assert shown(list_of_runs) == rows and counted(list_of_runs) == f"{len(fitting):,} of 10,000 runs"
    filters = "return document.querySelector('[data-filter=host]').value"
    assert list_of_runs.execute_script(filters) == "bench-2"
    list_of_runs.find_element("css selector", "#filters .reset").click()
    assert counted(list_of_runs) == "10,000 of 10,000 runs"
    assert list_of_runs.execute_script("return location.hash") == ""


@pytest.mark.browser
def test_an_address_that_says_nothing_that_is_there_shows_everything(list_of_runs: Any) -> None:
    address = list_of_runs.current_url
    list_of_runs.get("about:blank")
    list_of_runs.get(f"{address}#scenario=nobody&page=9999&since=x&unknown=1")
    assert counted(list_of_runs) == "10,000 of 10,000 runs"
    assert list_of_runs.find_element("id", "page").text == "9,901–10,000 of 10,000"


@pytest.mark.browser
def test_a_run_with_a_page_and_a_scenario_are_links(list_of_runs: Any) -> None:
    links = list_of_runs.execute_script(
        "return [...document.querySelectorAll('#runs-table tbody a')].map(a => a.getAttribute('href'))"
    )
    first = RUNS[:100]
    assert set(links) == {WITH_A_PAGE[run.folder] for run in first if run.folder in WITH_A_PAGE} | {
        "scenario-quickstart.html"
    }


@pytest.mark.browser
def test_without_scripts_the_newest_runs_are_a_table(browser: Any, list_page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(list_page.as_uri())
        rows = browser.find_elements("css selector", "#runs-table tbody tr")
        assert len(rows) == MOST_ROWS == 200
        assert RUNS[0].folder in rows[0].text and RUNS[199].folder in rows[199].text
        assert not browser.find_element("id", "filters").is_displayed()
        assert "The newest 200 of 10,000 runs" in browser.find_element("tag name", "body").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def hostile_runs() -> list[HistoryRun]:
    names = (
        HOSTILE,
        "</script><script>document.title='taken'</script>",
        "\"'><b>x",
        "../..",
        "__proto__",
        HONEST,
    )
    return [
        past_run(i, folder=f"{i} {name}", scenario=name, model=name * 40, host=name)
        for i, name in enumerate(names)
    ]


@pytest.mark.browser
def test_hostile_names_are_text_on_the_list(browser: Any, tmp_path: Path) -> None:
    page = written(tmp_path / "site", hostile_runs(), [SkippedFolder(folder="x", why=f"why {HOSTILE}")])
    visit(browser, page)
    assert browser.title == "What was measured" and counted(browser) == "6 of 6 runs"
    assert not browser.find_elements("css selector", "img, b") and not ACTING.search(page.read_text())
    assert not ACTING.search((page.parent / DATA).read_text())
    body = browser.find_element("tag name", "body").text
    assert "__proto__" in body and "<img src=x>" in body and "skipped: why" in body
    choose(browser, "scenario", "__proto__")
    assert [row[SCENARIO] for row in shown(browser)] == ["__proto__"]
    assert complaints(browser) == [] and requested(browser) == []


def chart_of(name: str, **changed: object) -> Any:
    of = nights(90)
    (series,) = of.trends[name]
    axis = axis_of([run.started_at for run in of.runs])
    judged = of.judged.get(("1 users", name), {})
    return trend_chart(name, series.model_copy(update=changed), axis, judged, of.hrefs)


def test_a_chart_has_its_changes_its_verdicts_and_what_else_changed() -> None:
    chart = chart_of("p50")
    assert [step.x for step in chart.steps] == pytest.approx([30 / 89 * 100, 60 / 89 * 100], abs=0.01)
    assert [step.change[:3] for step in chart.steps] == ["+10", "-9."]
    assert len(chart.marks) == 30 and {mark.look for mark in chart.marks} == {"regressed"}
    assert chart.marks[0].href == "../night-00059/ab.html" and "over the margin of 3%" in chart.marks[0].title
    assert chart.line.count("l") == 1 and chart.band.endswith("z") and chart.dots.count("M") == 90
    of = nights(90)
    (changed,) = environment_changes(of.trends["p50"][0], axis_of([run.started_at for run in of.runs]))
    assert changed.title == "2024-03-01 02:00 UTC: Triton 2.51.0 → 2.52.0"


def test_a_chart_of_one_value_or_of_zeros_is_drawn() -> None:
    (series,) = nights(90).trends["p50"]
    assert chart_of("p50", values=series.values[:1]).line == "M0 500"
    zeros = chart_of("error_rate")
    assert (zeros.top, zeros.bottom, zeros.steps) == ("1.00%", "0%", [])


def test_a_path_is_that_of_its_values() -> None:
    """Relative steps, read as SVG reads them, lead to the last value's place."""
    chart = chart_of("p50")
    first, steps = chart.line[1:].split("l")
    numbers = [int(n) for n in steps.replace("-", " -").split()]
    x, y = (int(n) for n in first.split())
    assert len(numbers) == 2 * 89
    last = [int(n) for n in chart.dots.split("M")[-1].removesuffix("h0").split()]
    assert [x + sum(numbers[::2]), y + sum(numbers[1::2])] == last


@pytest.fixture
def shown_page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Write a scenario's page, open it, and afterwards hold it to silence."""

    def opened(text: str) -> Any:
        folder = tmp_path / "results" / "site"
        folder.mkdir(parents=True)
        (folder / "scenario-x.html").write_text(text)
        visit(browser, folder / "scenario-x.html")
        return browser

    yield opened
    assert complaints(browser) == [] and requested(browser) == []


@pytest.mark.browser
def test_the_page_of_a_scenario(shown_page: Any) -> None:
    page = shown_page(scenario_html(nights(90, 2)))
    assert page.find_element("tag name", "h1").text == "quickstart"
    marks = page.find_elements("css selector", ".strip .spot")
    assert len(marks) == 90
    titles = [mark.get_attribute("title") for mark in marks]
    assert "2024-02-10 02:00 UTC: regressed, it was night 40" in titles
    assert (
        page.find_element("css selector", ".strip .accepted")
        .get_attribute("title")
        .endswith("baseline accepted, twice the layers")
    )
    assert "twice the layers" in page.find_element("id", "baselines").text
    without = [mark for mark in marks if mark.tag_name == "span"]
    assert [mark.get_attribute("title")[:10] for mark in without] == ["2024-01-04"], "it has no page"
    charts = page.find_elements("css selector", "figure .trend")
    assert [chart.get_attribute("aria-label").split(":")[0] for chart in charts] == [
        "p50",
        "p99",
        "throughput",
        "error rate",
    ] * 2
    assert charts[0].find_element("css selector", ".step b").text.startswith("+1")
    assert len(charts[0].find_elements("css selector", ".environment")) == 1


@pytest.mark.browser
def test_a_value_is_read_with_the_keyboard_and_leads_to_its_night(shown_page: Any, tmp_path: Path) -> None:
    page = shown_page(scenario_html(nights(90)))
    target = tmp_path / "results" / "night-00089" / "ab.html"
    target.parent.mkdir()
    target.write_text("<!doctype html><link rel=icon href='data:,'><title>that night</title>")
    chart = page.find_element("css selector", "figure .trend")
    chart.send_keys(Keys.ARROW_RIGHT)
    reading = page.find_element("css selector", "figure .reading")
    value = nights(90).trends["p50"][0].values[-1].value * 1e3
    assert reading.text.startswith(f"{value:.4g}".rstrip("0"))
    assert "ms · 2024-03-30 02:00 UTC, night-00089: pass" in reading.text
    chart.send_keys(Keys.ARROW_LEFT)
    assert "night-00088" in reading.text
    chart.send_keys(Keys.ARROW_RIGHT)
    reading.find_element("tag name", "a").click()
    assert page.title == "that night"


@pytest.mark.browser
def test_a_thousand_nights_of_twelve_points_are_a_page_under_three_megabytes(shown_page: Any) -> None:
    text = scenario_html(nights(1000, 12))
    assert len(text.encode()) < 3_000_000
    page = shown_page(text)
    assert len(page.find_elements("css selector", "figure .trend")) == 48
    assert len(page.find_elements("css selector", "#nights tbody tr")) == MOST_LISTED
    assert len(page.find_elements("css selector", ".strip .spot")) == 1000


def test_very_many_points_or_nights_are_left_out_and_said_so() -> None:
    text = scenario_html(nights(40, MOST_SERIES + 3))
    assert text.count('class="point"') == MOST_SERIES and "3 more points left out" in text
    assert "values of before left out" not in text
    assert "400 values of before left out" in scenario_html(nights(900, 30))


@pytest.mark.browser
def test_hostile_names_are_text_on_the_page_of_a_scenario(shown_page: Any) -> None:
    of = nights(20, scenario=f"</script></title> {HOSTILE}")
    end = "</script ><img src=x>"

    def hostile(value: TrendValue) -> TrendValue:
        return value.model_copy(update={"folder": value.folder + end, "triton_version": f"{value.folder}<b>"})

    trends = {
        metric: [
            series.model_copy(
                update={"point": HOSTILE, "host": "<b>h</b>", "values": tuple(map(hostile, series.values))}
            )
            for series in each
        ]
        for metric, each in of.trends.items()
    }
    runs = [run.model_copy(update={"folder": run.folder + end, "why": f"<b>{HOSTILE}"}) for run in of.runs]
    (baseline,) = of.baselines
    accepted = [baseline.model_copy(update={"reason": f'"><b> {HOSTILE}'})]
    judged = {(HOSTILE, "p50"): {run.folder: ("regressed", f"'\"><b> {HOSTILE}") for run in runs}}
    text = scenario_html(of._replace(trends=trends, runs=runs, baselines=accepted, judged=judged, hrefs={}))
    assert not ACTING.search(text)
    page = shown_page(text)
    body = page.find_element("tag name", "body").text
    assert not page.find_elements("css selector", "body img, td b, h3 b, .faint b")
    assert "<b>h</b>" in body and "<img src=x>" in body
    page.find_element("css selector", "figure .trend").send_keys(Keys.ARROW_RIGHT)
    assert end in page.find_element("css selector", "figure .reading").text


def test_every_charted_figure_is_kept_in_the_index() -> None:
    assert set(FIGURES) <= set(METRICS)
