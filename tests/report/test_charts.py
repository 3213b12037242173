"""What the page's charts draw, in a real browser: small multiples, heat maps, distributions, breakdowns."""

from itertools import pairwise

import pytest

from harness.choice.workloads import by_workload
from harness.report.format import ms
from harness.report.page.overview import default_percentile, overview
from harness.schema.load import Load
from harness.schema.scenario import Objective, RequestClass, Server
from tests.report import factory, samples
from tests.report.browser import choose, data_of, drawn, layout_of, note_of
from tests.report.factory import DEMO_RUN as DEMO

pytestmark = pytest.mark.browser

FOUR_LOADS = factory.ONE_POINT.model_copy(update={"load": Load(concurrency=(1, 2, 4, 8))})


def with_figures(run, figures):
    """The run's points with these throughputs and p99s, in milliseconds; None keeps a point's own."""
    points = []
    for point, given in zip(run.points, figures, strict=True):
        if given is not None:
            rate, p99_ms = given
            latency = point.latency_s.model_copy(update={"p99": p99_ms / 1e3})
            point = point.model_copy(update={"throughput_inferences_per_s": rate, "latency_s": latency})
        points.append(point)
    return run.model_copy(update={"points": tuple(points)})


def named(traces, name):
    return [t for t in traces if t["name"] == name]


def points_of(trace):
    return {i: (x, y) for i, x, y in zip(trace["ids"], trace["x"], trace["y"], strict=True) if y is not None}


def heat_maps(browser):
    """Of each table its caption, and its cells by row and column."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#heat-maps table')].map(t => [t.caption.innerText,"
        " [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText.trim())),"
        " [...t.querySelectorAll('td.best button')].map(b => b.dataset.open)])"
    )


def test_each_workload_has_a_panel_with_the_points_that_no_other_beats(demo):
    traces, layout = data_of(demo, "curve"), layout_of(demo, "curve")
    assert [t["on"] for t in named(traces, "front")] == ["x", "x2", "x3"]
    titles = [a["text"] for a in layout["annotations"] if a["text"].startswith("<b>")]
    assert titles == ["<b>tokens 16</b>", "<b>tokens 64</b>", "<b>tokens 256</b>"]
    for group, front in zip(by_workload(DEMO.points), named(traces, "front"), strict=True):
        good = [p for p in group if p.verdict == "valid" and p.latency_s.p99 is not None]
        unbeaten = {
            p.throughput_inferences_per_s
            for p in good
            if not any(
                (
                    q.throughput_inferences_per_s >= p.throughput_inferences_per_s
                    and q.latency_s.p99 < p.latency_s.p99
                )
                or (
                    q.throughput_inferences_per_s > p.throughput_inferences_per_s
                    and q.latency_s.p99 <= p.latency_s.p99
                )
                for q in good
            )
        }
        assert sorted(front["x"]) == pytest.approx(sorted(unbeaten), rel=1e-5)


def test_a_muted_line_for_each_configuration_in_order_of_load_and_the_best_is_ringed(demo):
    traces = data_of(demo, "curve")
    (muted, *_), (best, *_) = named(traces, "configurations"), named(traces, "best")
    assert muted["opacity"] < 1
    of_16 = [p for p in DEMO.points if p.params["requests.text.tokens"] == 16]
    assert [i for i in muted["ids"] if i] == [p.id for p in of_16], "max_batch 1 at 1 and 8, then 16"
    assert muted["ids"][2] is None and muted["y"][2] is None, "a gap between the lines"
    assert best["ids"] == [DEMO.answers[0].best] and best["symbol"] == "circle-open"


def test_the_error_bars_are_the_intervals(demo):
    front = named(data_of(demo, "curve"), "front")[0]
    by_id = {p.id: p for p in DEMO.points}
    for place, id_ in enumerate(front["ids"]):
        point = by_id[id_]
        low, high = point.latency_s.interval_95["p99"]
        assert front["error_y"]["array"][place] == pytest.approx((high - point.latency_s.p99) * 1e3, rel=1e-3)
        assert front["error_y"]["arrayminus"][place] == pytest.approx(
            (point.latency_s.p99 - low) * 1e3, rel=1e-3
        )
        assert front["error_x"]["array"][place] == pytest.approx(
            point.throughput_interval_95[1] - point.throughput_inferences_per_s, rel=1e-3
        )


def test_no_line_passes_through_a_point_that_is_not_valid(show):
    browser = show(factory.run_of(FOUR_LOADS, verdicts={1: "invalid", 3: "inconclusive"}))
    traces = data_of(browser, "curve")
    (line,), (apart,) = named(traces, "configurations"), named(traces, "not valid")
    assert [y is None for y in line["y"]] == [False, True, False, True, True]
    assert apart["symbol"] == ["x-thin-open", "diamond-open"]
    assert len(named(traces, "front")[0]["ids"]) == 2


def test_an_open_percentile_stands_at_its_lower_limit(show):
    run = factory.run_of(FOUR_LOADS)
    latency = run.points[2].latency_s.model_copy(
        update={
            "p99": None,
            "at_least": {"p99": 0.02},
            "sample": {"p99": 0.03},
            "unsupported": {"p99": "clusters"},
        }
    )
    points = [*run.points]
    points[2] = points[2].model_copy(update={"latency_s": latency})
    browser = show(run.model_copy(update={"points": tuple(points)}))
    choose(browser, "percentile", "p99")
    (open_,) = named(data_of(browser, "curve"), "at least")
    assert points_of(open_) == {
        points[2].id: (pytest.approx(points[2].throughput_inferences_per_s, rel=1e-5), 20)
    }
    assert "p99 ≥ 20 ms (sample 30)" in open_["hover"][0]
    assert browser.find_element("id", "curve-absent").text == ""


def test_a_few_lines_have_their_names_at_their_ends_and_many_have_none(show):
    few = factory.run_of(FOUR_LOADS.model_copy(update={"server": Server(max_batch=(8, 16))}))
    texts = [a["text"] for a in layout_of(show(few), "curve")["annotations"]]
    assert texts == ["max_batch 8", "max_batch 16"]
    many = factory.run_of(factory.MANY)
    browser = show(many)
    texts = [a["text"] for a in layout_of(browser, "curve")["annotations"]]
    assert len(texts) == 5 and all(text.startswith("<b>tokens") for text in texts)
    assert (
        browser.execute_script("return document.querySelector('.legend[data-for=curve]').children.length")
        == 0
    )
    muted = named(data_of(browser, "curve"), "configurations")[0]
    assert muted["hover"][0].startswith("<b>max_batch 1, queue_delay_us 0, tokens 16, concurrency 1</b>")


def test_what_beats_the_others_is_found_among_what_the_filters_show(show):
    scenario = FOUR_LOADS.model_copy(
        update={"server": Server(max_batch=(8, 16)), "load": Load(concurrency=(1, 8))}
    )
    run = with_figures(factory.run_of(scenario), ((100, 10), (200, 20), (150, 9), (300, 18)))
    browser = show(run)
    choose(browser, "percentile", "p99")
    assert named(data_of(browser, "curve"), "front")[0]["x"] == [150, 300]
    browser.execute_script("document.querySelector('[aria-label=\"Filter by max_batch\"] button').click()")
    assert named(data_of(browser, "curve"), "front")[0]["x"] == [100, 200]


def test_the_heat_maps_have_the_best_of_each_setting(demo):
    found = heat_maps(demo)
    assert [caption for caption, _, _ in found] == ["tokens 16", "tokens 64", "tokens 256"]
    best = [answer.best for answer in DEMO.answers]
    assert [ids for _, _, ids in found] == [[id_] for id_ in best]
    # one setting is chosen, the max batch of 1 and 16; of 256 tokens concurrency 8 holds at neither
    assert [cells for _, ((_, *cells),), _ in found] == [["475", "762"], ["175", "281"], ["44.8", "44.8"]]


def test_a_heat_map_of_two_settings_among_more(show):
    server = Server(max_batch=(4, 8), instances=(1, 2, 4), queue_delay_us=(0, 500))
    scenario = FOUR_LOADS.model_copy(
        update={"server": server, "objective": Objective(p99_ms=100), "load": Load(concurrency=8)}
    )
    run = factory.run_of(scenario)
    points = [
        p.model_copy(
            update={
                "throughput_inferences_per_s": 100.0 * (i + 1),
                "objective": tuple(
                    c.model_copy(update={"met": p.point.server.instances != 4}) for c in p.objective
                ),
            }
        )
        for i, p in enumerate(run.points)
    ]
    browser = show(run.model_copy(update={"points": tuple(points)}))
    best = {}
    for p in points:
        if p.point.server.instances != 4:
            place = (p.point.server.instances, p.point.server.max_batch)
            best[place] = max(best.get(place, 0), p.throughput_inferences_per_s)
    ((_, cells, _),) = heat_maps(browser)
    assert browser.find_element("id", "across").get_attribute("value") == "server.instances"
    assert cells == [[str(b), f"{best[1, b]:,.0f}", f"{best[2, b]:,.0f}", "none"] for b in (4, 8)]
    choose(browser, "down", "server.queue_delay_us")
    ((_, cells, _),) = heat_maps(browser)
    assert [row[0] for row in cells] == ["0", "500"]
    choose(browser, "down", "server.instances")  # not against itself
    ((_, cells, _),) = heat_maps(browser)
    assert len(cells) == 1 and len(cells[0]) == 4


def test_without_a_setting_that_varies_there_is_no_heat_map(show):
    browser = show(factory.run_of(FOUR_LOADS))
    assert heat_maps(browser) == [] and not browser.find_elements("id", "figure-heat")


def test_data_size_is_drawn_for_the_chosen_configuration_a_line_for_each_load(demo_to_choose_from):
    browser = demo_to_choose_from
    chosen = next(p for p in DEMO.points if p.id == DEMO.answers[0].best)
    traces, layout = data_of(browser, "size"), layout_of(browser, "size")
    assert layout["xaxis"]["tickvals"] == [16, 64, 256] and layout["xaxis"]["title"]["text"] == "tokens"
    assert [t["name"] for t in traces] == ["concurrency 1", "concurrency 8"]
    assert [a["text"] for a in layout["annotations"]] == ["concurrency 1", "concurrency 8"]
    by_id = {p.id: p for p in DEMO.points}
    for trace in traces:
        for id_, (x, y) in points_of(trace).items():
            assert by_id[id_].point.configuration == chosen.point.configuration
            assert x == by_id[id_].params["requests.text.tokens"]
            assert y == pytest.approx(by_id[id_].classes[0].latency_s.p99 * 1e3, rel=1e-4)
    assert "max_batch 16" in note_of(browser, "size")
    choose(browser, "chosen", DEMO.points[0].id)
    assert "max_batch 1:" in note_of(browser, "size")


def test_height_and_width_are_labelled_as_such(show):
    image = factory.ONE_POINT.requests[0].model_copy(update={"tokens": None, "height": (32, 64), "width": 48})
    browser = show(factory.run_of(factory.ONE_POINT.model_copy(update={"requests": (image,)})))
    layout = layout_of(browser, "size")
    assert layout["xaxis"]["tickvals"] == [32 * 48, 64 * 48]
    assert layout["xaxis"]["ticktext"] == ["32×48", "64×48"]
    assert layout["xaxis"]["title"]["text"] == "height×width"


def test_what_does_not_vary_is_not_drawn(show):
    browser = show(factory.run_of(factory.ONE_POINT))
    assert not {"size", "batch"} & drawn(browser)


def test_the_client_s_batch_against_latency(show):
    request = RequestClass(name="text", tokens=16, batch=(1, 4, 8))
    browser = show(factory.run_of(FOUR_LOADS.model_copy(update={"requests": (request,)})))
    assert layout_of(browser, "batch")["xaxis"]["tickvals"] == [1, 4, 8]
    assert [t["name"] for t in data_of(browser, "batch")] == [f"concurrency {n}" for n in (1, 2, 4, 8)]


def test_the_breakdown_adds_up_to_the_mean_latency(demo):
    traces = data_of(demo, "breakdown")
    seen = [(i, p) for i, p in enumerate(DEMO.points) if p.server is not None]
    for i, point in seen:
        assert traces[0]["ids"][i] == point.id
        assert sum(t["x"][i] for t in traces) == pytest.approx(point.latency_s.mean * 1e3, rel=1e-4)
    assert {t["x"][7] for t in traces} == {None}
    assert "1 point without Triton's statistics" in note_of(demo, "breakdown")
    assert traces[0]["hatches"][:6] == ["", "", "/", "", "", "x"]


def test_a_part_that_was_not_observed_is_not_drawn_as_nothing(show):
    run = factory.run_of(FOUR_LOADS)
    point = run.points[0]
    lacking = point.model_copy(update={"time_s": point.time_s.model_copy(update={"network_s": None})})
    browser = show(run.model_copy(update={"points": (lacking, *run.points[1:])}))
    (network,) = named(data_of(browser, "breakdown"), "network")
    assert network["x"][0] is None and "not observed" in network["hover"][0]


def test_no_statistics_at_any_point_are_said(show):
    browser = show(factory.run_of(without_server=range(12)))
    assert "breakdown" not in drawn(browser) and "could not be read" in note_of(browser, "breakdown")


def test_of_many_points_those_that_the_answers_name_are_drawn_in_full(show):
    run = factory.run_of(factory.MANY)
    browser = show(run)
    best = {answer.best for answer in run.answers}
    bars, curves = data_of(browser, "breakdown"), data_of(browser, "percentiles")
    assert len(bars[0]["ids"]) == 24 and best <= set(bars[0]["ids"])
    assert "24 of 200 points" in note_of(browser, "breakdown")
    legend = "return [...document.querySelectorAll('.legend[data-for=percentiles] button')].length"
    assert len(curves) and browser.execute_script(legend) == 7
    assert "7 of 200 points" in note_of(browser, "percentiles")


def test_the_thin_end_of_a_curve_is_faint_from_ten_requests_on(show):
    run = factory.run_of(factory.ONE_POINT)
    solid, faint = data_of(show(run), "percentiles")
    n = run.points[0].requests - run.points[0].errors
    assert solid["opacity"] == 1 and faint["opacity"] < 1
    assert max(solid["x"][:-1]) < n / 10 <= min(faint["x"][1:])
    assert solid["x"][-1] == faint["x"][0]  # they meet
    requests, _ = samples.requests_of(run.points[0])
    assert max(faint["y"]) > max(solid["y"])
    assert all(a <= b for a, b in pairwise([*solid["y"], *faint["y"][1:]]))
    assert requests.size


def test_nothing_measured_draws_nothing(show):
    browser = show(factory.run_of(measured=0))
    assert drawn(browser) == set() and "No point" in note_of(browser, "curve")


def test_a_mark_says_what_it_is(demo):
    point = DEMO.points[1]
    muted = named(data_of(demo, "curve"), "configurations")[0]
    (said,) = (h for i, h in zip(muted["ids"], muted["hover"], strict=True) if i == point.id)
    assert said.startswith("<b>max_batch 1, tokens 16, concurrency 8</b>")
    assert f"p99 {ms(point.latency_s.p99)} ms (" in said and "objective: met" in said
    assert "bottleneck: compute" in said


def test_the_percentile_shown_first_is_the_objectives_where_it_can_be():
    assert default_percentile(factory.run_of()) == "p99"
    few = factory.run_of(verdicts=dict.fromkeys(range(12), "inconclusive"))
    assert default_percentile(few) == "p90"
    p90 = factory.DEMO.model_copy(
        update={"objective": factory.DEMO.objective.model_copy(update={"p99_ms": None})}
    )
    assert default_percentile(factory.run_of(p90)) == "p99"


def test_what_varies_is_known_with_its_role_and_its_values_in_order():
    found = {
        each["name"]: (each["role"], each["values"])
        for each in overview(factory.run_of(factory.MANY))["settings"]
    }
    assert found == {
        "tokens": ("workload", ["16", "32", "64", "128", "256"]),
        "max_batch": ("configuration", ["1", "4", "8", "16", "32"]),
        "queue_delay_us": ("configuration", ["0", "500"]),
        "load": ("load", ["concurrency 1", "concurrency 2", "concurrency 4", "concurrency 8"]),
    }


def test_names_reach_plotly_as_text(show):
    run = factory.run_of(FOUR_LOADS, verdicts={0: "invalid"})
    points = tuple(
        p.model_copy(
            update={
                "params": p.params | {"protocol": "<b>x</b>"},
                "reasons": ("<a href='x'>y</a>",) if p.reasons else (),
            }
        )
        for p in run.points
    )
    browser = show(run.model_copy(update={"points": points}))
    texts = [h for chart in ("curve", "breakdown") for t in data_of(browser, chart) for h in t["hover"] or ()]
    assert any("&lt;b&gt;x" in text for text in texts) and any("&lt;a href" in text for text in texts)
    assert not any("<b>x" in text or "<a " in text for text in texts)
