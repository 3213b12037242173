"""The page in a real headless Chromium: what it draws, what it refuses, and that it reaches no network."""

from dataclasses import replace

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from harness.choice.workloads import by_workload
from harness.plain_text import shown
from harness.report import format
from harness.report.page.page import page_html, write_page
from harness.schema.result import Bottleneck, SteadyState
from tests.report import factory, samples
from tests.report.browser import choose, complaints, data_of, drawn, headings, rows, visit
from tests.report.factory import DEMO_RUN as DEMO

pytestmark = pytest.mark.browser

POINT_CHARTS = {"raw", "cpu", "memory"}
RUN_CHARTS = {"curve", "size", "percentiles", "breakdown"}
IN_ORDER = [p for group in by_workload(DEMO.points) for p in group]


def test_every_chart_is_drawn_without_a_word_on_the_console_or_the_network(demo):
    browser = demo
    assert drawn(browser) == RUN_CHARTS | POINT_CHARTS
    assert "minilm" in browser.title


def test_the_page_of_the_demo_is_under_6_mb(demo_file):
    assert demo_file.stat().st_size < 6_000_000


def test_the_header_answers_first(demo):
    header = demo.find_element("tag name", "header").text
    best = max(p.throughput_inferences_per_s for p in DEMO.points if p.verdict == "valid")
    assert f"{best:.0f} inferences/s, p99" in header
    limits = "p99 ≤ 200 ms, errors ≤ 0.1% (a failed request is over every limit)"
    assert "missed" in header and f"{limits}: met at 9, missed at 1 of 10 valid points" in header
    assert "10 valid" in header and "1 invalid" in header and "1 inconclusive" in header
    assert "CPU: Intel(R) Xeon(R)" in header and "no GPU" in header
    assert "not NVIDIA's C++ backend" in header


def test_the_table_has_a_row_a_point_with_its_figures(demo):
    browser = demo
    table, titles = rows(browser), headings(browser)
    assert [r["id"] for r in table] == [p.id for p in IN_ORDER]
    assert [r["verdict"].split()[0] for r in table] == [p.verdict for p in IN_ORDER]
    first, point = dict(zip(titles, table[0]["cells"], strict=True)), IN_ORDER[0]
    assert first["tokens"] == "16" and first["load"] == "concurrency 1"
    assert float(first["p99"].split("\n")[0]) == pytest.approx(point.latency_s.p99 * 1e3, rel=0.005)
    low, high = first["p99"].split("\n")[1].split("–")
    assert float(low) == pytest.approx(point.latency_s.interval_95["p99"][0] * 1e3, rel=0.005)
    assert float(high) == pytest.approx(point.latency_s.interval_95["p99"][1] * 1e3, rel=0.005)
    assert float(first["compute"]) == pytest.approx(
        1e3 * sum(getattr(point.server, f"compute_{n}_s") for n in ("input", "infer", "output")), rel=0.005
    )
    (spoilt,) = (i for i, p in enumerate(IN_ORDER) if p.verdict == "invalid")
    assert IN_ORDER[spoilt].reasons
    for reason in IN_ORDER[spoilt].reasons:
        assert reason in dict(zip(titles, table[spoilt]["cells"], strict=True))["verdict"]


def test_what_was_not_observed_is_a_dash_with_its_reason(demo):
    browser = demo
    titles, places = headings(browser), {p.id: i for i, p in enumerate(IN_ORDER)}
    place = places[DEMO.points[7].id]
    cells = dict(zip(titles, rows(browser)[place]["cells"], strict=True))
    assert all(cells[name].startswith("–") for name in ("queue", "compute", "mean batch"))
    few = rows(browser)[places[DEMO.points[2].id]]["cells"]
    assert dict(zip(titles, few, strict=True))["p99"].startswith("–")
    why = browser.execute_script(
        "return document.querySelectorAll('#points-table tbody tr')[arguments[0]]"
        ".querySelector('.numeric .none').title",
        place,
    )
    assert why == "Triton's statistics could not be read"
    assert why in browser.find_element("css selector", ".footnotes").text


def test_the_select_box_shows_another_point(demo_to_choose_from):
    browser = demo_to_choose_from
    before = data_of(browser, "raw")
    choose(browser, "chosen", DEMO.points[4].id)
    after = data_of(browser, "raw")
    assert before != after
    requests, window = samples.requests_of(DEMO.points[4], seed=4)
    text = next(t for t in after if t["name"] == "text")
    measured = requests[requests["phase"] == 1]
    assert text["x"] == pytest.approx((measured["intended_ns"] - window.start_ns) / 1e9, abs=1e-4)
    assert text["y"] == pytest.approx((measured["completed_ns"] - measured["intended_ns"]) / 1e6, rel=1e-3)


def details(browser):
    return browser.find_element("id", "details").text


def shaded(browser, chart):
    return browser.execute_script(
        "return document.getElementById(arguments[0]).layout.shapes.map(s => [s.x0, s.x1])", chart
    )


def test_the_chosen_point_is_told_in_full(demo_to_choose_from):
    browser = demo_to_choose_from
    point = DEMO.points[1]  # many users, so with an initial transient
    choose(browser, "chosen", point.id)
    text = details(browser)
    assert f"bottleneck compute: {point.bottleneck.why}" in text
    assert "Ended by\nintervals as narrow as asked" in text
    assert f"Left out\nfirst 0.400 s, {point.steady_state.skipped_requests} requests" in text
    for name in ("client", "network", "queue", "input", "compute", "output"):
        assert f"\n{name}\n" in text
    for value in (point.latency_s.p999, point.service_s.p999, *point.latency_s.interval_95["p999"]):
        assert format.ms(value) in text
    assert "Other processes\n0.0040 cores" in text and "Taken by the hypervisor\n0.0020 cores" in text


def test_the_initial_transient_is_shaded_and_what_it_cost_is_said(demo_to_choose_from):
    browser = demo_to_choose_from
    point = DEMO.points[1]
    choose(browser, "chosen", point.id)
    for chart in ("raw", "cpu", "memory"):
        assert shaded(browser, chart)[1] == [0, point.steady_state.skipped_s]
    note = browser.find_element("id", "raw-note").text
    assert "0.40 s, 189 requests" in note and "in no latency figure" in note
    choose(browser, "chosen", DEMO.points[0].id)
    assert len(shaded(browser, "raw")) == 1
    assert "transient" not in browser.find_element("id", "raw-note").text


def test_why_a_percentile_is_null_is_said_where_it_would_stand(demo_to_choose_from):
    browser = demo_to_choose_from
    point = DEMO.points[2]
    choose(browser, "chosen", point.id)
    text = details(browser)
    assert len(point.latency_s.unsupported) == 3
    for why in point.latency_s.unsupported.values():
        assert why in text
    assert "a p99.9 takes at least 3,838 requests" in browser.find_element("css selector", ".footnotes").text


def test_a_point_that_was_never_steady_says_so(show):
    run = factory.run_of(factory.ONE_POINT, verdicts={0: "inconclusive"}, never_steady=(0,))
    browser = show(run)
    assert "never steady: latency grew steadily" in details(browser)
    assert "It was never steady: latency grew" in browser.find_element("id", "raw-note").text
    assert "never steady" in browser.find_element("id", "validity").text


def test_load_processes_are_listed_with_host_clock_and_what_became_of_them(show):
    run = factory.run_of(factory.OPEN_LOOP, verdicts={0: "invalid"})
    browser = show(run)
    choose(browser, "chosen", run.points[0].id)
    text = details(browser)
    assert "bench-2" in text and "1.23 ± 0.0470 ms ahead" in text and "no word for 15 s" in text
    choose(browser, "chosen", run.points[1].id)
    assert "no word" not in details(browser)


def marked(browser):
    """The latency at which the points stand in the chart, by their ids."""
    return {
        id_: y
        for trace in data_of(browser, "curve")
        for id_, y in zip(trace["ids"] or (), trace["y"], strict=False)
        if y is not None
    }


def test_p99_9_can_be_chosen_where_a_point_has_it(demo_to_choose_from):
    browser = demo_to_choose_from
    choose(browser, "percentile", "p999")
    title = browser.execute_script("return document.getElementById('curve').layout.yaxis.title.text")
    assert title == "p99.9 latency, ms"
    expected = {p.id: p.latency_s.p999 * 1e3 for p in DEMO.points if p.latency_s.p999 is not None}
    assert marked(browser) == pytest.approx(expected, rel=1e-4)
    assert "Without a p99.9" in browser.find_element("id", "curve-absent").text


def test_choosing_a_percentile_redraws_the_charts_and_says_which_points_lack_it(demo_to_choose_from):
    browser = demo_to_choose_from
    assert browser.find_element("id", "percentile").get_attribute("value") == "p99"
    assert "max_batch 1, tokens 64, concurrency 1" in browser.find_element("id", "curve-absent").text
    choose(browser, "percentile", "p50")
    expected = {p.id: p.latency_s.p50 * 1e3 for p in DEMO.points}
    assert marked(browser) == pytest.approx(expected, rel=1e-4)
    title = browser.execute_script("return document.getElementById('curve').layout.yaxis.title.text")
    assert title == "p50 latency, ms"
    assert browser.find_element("id", "curve-absent").text == ""


def test_legends_do_not_cover_data_and_put_lines_away(demo_to_change):
    browser = demo_to_change
    assert browser.execute_script("return document.querySelectorAll('.plot .legend .traces').length") == 0
    below = browser.execute_script(
        "return [...document.querySelectorAll('.legend')].filter(l => l.children.length).every(l =>"
        " l.getBoundingClientRect().top >="
        " document.getElementById(l.dataset.for).getBoundingClientRect().bottom - 1)"
    )
    assert below
    before = len(data_of(browser, "breakdown"))
    browser.execute_script("document.querySelector('.legend[data-for=breakdown] button').click()")
    assert len(data_of(browser, "breakdown")) == before - 1
    pressed = "return document.querySelector('.legend[data-for=breakdown] button').ariaPressed"
    assert browser.execute_script(pressed) == "false"


def test_a_heading_sorts_and_what_is_not_known_goes_last(demo_to_change):
    browser = demo_to_change
    column = headings(browser).index("p99")
    click = "document.querySelectorAll('#points-table thead button')[arguments[0]].click()"
    known = sorted(p.latency_s.p99 for p in DEMO.points if p.latency_s.p99 is not None)
    by_id = {p.id: p.latency_s.p99 for p in DEMO.points}
    for expected in ([*known, None], [*known[::-1], None]):
        browser.execute_script(click, column)
        assert [by_id[r["id"]] for r in rows(browser)] == expected


def test_gpu_readings_are_drawn_where_there_are_some(show):
    run = factory.run_of(factory.OPEN_LOOP, gpu=True)
    browser = show(run)
    assert "gpu" in drawn(browser)
    assert max(data_of(browser, "gpu")[0]["y"]) == pytest.approx(80, abs=1)  # percent
    assert "GPU: NVIDIA H100 80GB HBM3" in browser.find_element("tag name", "header").text
    assert "412" in browser.find_element("id", "gpus").text  # watts


def test_without_a_gpu_the_page_says_so(demo):
    browser = demo
    assert browser.find_element("id", "gpu-note").text == "No GPU was observed at this point."
    assert "gpu" not in drawn(browser)


def test_hostile_names_stay_text(show):
    scenario = factory.DEMO.model_copy(update={"model": factory.HOSTILE})
    run = factory.run_of(
        scenario,
        model=factory.artifact(name=factory.HOSTILE, note=factory.HOSTILE),
        error_text=factory.HOSTILE,
        verdicts={0: "invalid"},
    )
    points = [
        p.model_copy(
            update={
                "reasons": (factory.HOSTILE,),
                "params": {factory.HOSTILE: factory.HOSTILE, **p.params},
                "bottleneck": Bottleneck(name="compute", why=factory.HOSTILE),
                "steady_state": SteadyState(
                    steady=False, skipped_requests=0, skipped_s=0.0, why=factory.HOSTILE
                ),
                "load_processes": tuple(
                    each.model_copy(update={"host": factory.HOSTILE, "lost": factory.HOSTILE})
                    for each in p.load_processes
                ),
            }
        )
        for p in run.points
    ]
    run = run.model_copy(update={"points": tuple(points), "scenario": factory.HOSTILE})
    series = {k: replace(s, classes=(factory.HOSTILE,)) for k, s in samples.series_for(run).items()}
    browser = show(run, series)  # an alert would fail every call that follows
    assert browser.execute_script("return document.querySelectorAll('script:not([type])').length") == 7
    assert browser.execute_script("return document.querySelector('h1').textContent") == shown(factory.HOSTILE)
    assert drawn(browser) >= RUN_CHARTS
    choose(browser, "chosen", points[3].id)
    marks = browser.execute_script("return document.querySelectorAll('.js-plotly-plot script, b').length")
    assert marks == 0
    legend = "return document.querySelector('.legend[data-for=raw] button').textContent"
    assert browser.execute_script(legend) == shown(factory.HOSTILE)


def test_the_policy_refuses_the_network_and_any_other_script(browser, demo_file):
    visit(browser, demo_file)
    reached = browser.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('reached'),"
        " () => setTimeout(() => done(window.refused), 100));"
        "document.addEventListener('securitypolicyviolation', e => window.refused = e.effectiveDirective);"
    )
    assert reached == "connect-src"
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        " document.body.append(s)"
    )
    assert browser.execute_script("return window.ran === undefined")
    browser.get("about:blank")  # the demo isn't as it was when it opened
    assert complaints(browser)  # the same log that must be empty elsewhere does hear of it


@pytest.mark.parametrize(
    ("scenario", "count"), [(factory.ONE_POINT, 1), (factory.MANY, 200)], ids=["1 point", "200 points"]
)
def test_it_works_with_1_point_and_with_200(show, tmp_path, scenario, count):
    run = factory.run_of(scenario)
    browser = show(run)
    assert len(rows(browser)) == count
    assert drawn(browser) >= {"curve", "percentiles", "breakdown"} | POINT_CHARTS
    assert (tmp_path / "report.html").stat().st_size < 12_000_000


def test_a_run_without_a_point_is_a_page_that_says_so(show):
    browser = show(factory.run_of(measured=0))
    assert "not complete: 0 of 12 planned points measured" in browser.find_element("tag name", "body").text
    assert drawn(browser) == set()


def test_an_unfinished_run_says_how_far_it_came(show):
    browser = show(factory.run_of(measured=5))
    assert "5 of 12 planned points" in browser.find_element("css selector", ".banner").text


def test_a_point_without_samples_has_no_charts_of_its_own(show):
    browser = show(DEMO, {})
    assert drawn(browser) == {"curve", "breakdown"}
    assert "samples of no point are at hand" in browser.find_element("id", "point").text


def test_dark_and_light_follow_the_reader(demo):
    browser = demo

    def colours(browser):
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return paper, next(t["marker"] for t in data_of(browser, "curve") if t["name"] == "front")

    try:  # the browser tells the page of the change with its next frame
        for scheme, wanted in (
            ("dark", ("rgb(20, 23, 26)", "#4aa3df")),
            ("light", ("rgb(255, 255, 255)", "#0072b2")),
        ):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            WebDriverWait(browser, 10).until(lambda b, wanted=wanted: colours(b) == wanted, scheme)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_narrow_window_does_not_scroll_sideways(demo):
    browser = demo
    size = browser.get_window_size()
    width = "return document.querySelector('#curve .main-svg').getBoundingClientRect().width"
    before = browser.execute_script(width)
    browser.set_window_size(500, 900)
    sideways = "return document.documentElement.scrollWidth - window.innerWidth"
    try:  # plotly fits its charts a moment after the window's change
        WebDriverWait(browser, 10).until(lambda b: b.execute_script(sideways) <= 0)
    finally:
        browser.set_window_size(size["width"], size["height"])
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(width) == before, "as the next test has it")


def test_on_paper_the_charts_fit_and_come_back(demo):
    browser = demo
    width = "return document.querySelector('#curve .main-svg').getBoundingClientRect().width"
    before = browser.execute_script(width)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(width) <= 1030 < before
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    WebDriverWait(browser, 10).until(
        lambda b: abs(b.execute_script(width) - before) <= 2, "back to the window's"
    )


def test_the_table_is_marked_up_for_screen_readers(demo):
    browser = demo
    assert browser.execute_script("return document.querySelectorAll('table:not(:has(caption))').length") == 0
    assert browser.execute_script("return document.querySelectorAll('th:not([scope])').length") == 0
    unlabelled = "return [...document.querySelectorAll('select')].filter(s => !s.labels.length).length"
    assert browser.execute_script(unlabelled) == 0
    assert browser.execute_script("return document.querySelectorAll('.plot:not([aria-label])').length") == 0


def test_parity_environment_and_scenario_are_on_the_page(demo):
    text = demo.find_element("tag name", "main").text
    assert "batch 2, tokens 32" in text and DEMO.model.sha256 in text
    assert "onnxruntime-gpu" in text and "3f5a9c1+dirty" in text
    assert "queue_delay_us: 500" in text


def test_the_same_run_makes_the_same_page():
    series = samples.series_for(DEMO)
    assert page_html(DEMO, series) == page_html(DEMO, series)


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError):
        write_page(DEMO, {}, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
