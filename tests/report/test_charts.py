from dataclasses import asdict
from itertools import pairwise

import pytest

from harness.report.charts import points as charts
from harness.report.charts.breakdown import breakdown
from harness.report.charts.chart import DASHES, styles
from harness.report.charts.distribution import MOST_CURVES, percentile_curves
from harness.schema.load import Load
from tests.report import factory, samples


def traces(figure, percentile, symbol=None):
    mine = [t for t in figure.traces if t["meta"].get("percentile") == percentile and "marker" in t]
    return [t for t in mine if symbol is None or symbol in t["marker"]["symbol"]]


def points_of(trace):
    return [(x, y) for x, y in zip(trace["x"], trace["y"], strict=True) if y is not None]


def test_the_curve_has_one_line_a_configuration_in_order_of_load():
    run = factory.run_of()
    figure = charts.latency_throughput(run)
    lines = traces(figure, "p99")
    assert len(lines) == 6
    first = [
        p for p in run.points if p.params["server.max_batch"] == 1 and p.params["requests.text.tokens"] == 16
    ]
    assert points_of(lines[0]) == [
        (p.throughput_inferences_per_s, pytest.approx(p.latency_s.p99 * 1e3)) for p in first
    ]
    assert lines[0]["text"] == ["1", "8"]
    assert lines[0]["name"] == "max_batch 1, tokens 16"


def test_the_error_bars_are_the_intervals():
    run = factory.run_of()
    point = run.points[0]
    trace = traces(charts.latency_throughput(run), "p50")[0]
    low, high = point.latency_s.interval_95["p50"]
    assert trace["error_y"]["array"][0] == pytest.approx((high - point.latency_s.p50) * 1e3)
    assert trace["error_y"]["arrayminus"][0] == pytest.approx((point.latency_s.p50 - low) * 1e3)
    assert trace["error_x"]["array"][0] == pytest.approx(
        point.throughput_interval_95[1] - point.throughput_inferences_per_s
    )


def test_no_line_passes_through_or_over_a_point_that_is_not_valid():
    scenario = factory.ONE_POINT.model_copy(update={"load": Load(concurrency=(1, 2, 4, 8))})
    run = factory.run_of(scenario, verdicts={1: "invalid", 3: "inconclusive"})
    line, apart = traces(charts.latency_throughput(run), "p50")
    assert line["connectgaps"] is False
    assert [y is None for y in line["y"]] == [False, True, False, True]
    assert [s for s, y in zip(apart["marker"]["symbol"], apart["y"], strict=True) if y is not None] == [
        "x-thin-open",
        "diamond-open",
    ]
    drawn = [y is not None for y in apart["y"]]
    assert not any(a and b for a, b in pairwise(drawn))


def test_a_point_without_the_percentile_is_named_not_drawn_at_zero():
    run = factory.run_of(verdicts={2: "inconclusive"})
    figure = charts.latency_throughput(run)
    assert figure.by_percentile["p99"]["absent"] == ["max_batch 1, tokens 64, concurrency 1"]
    assert figure.by_percentile["p50"]["absent"] == []
    assert figure.traces
    for t in figure.traces:
        assert 0 not in t["y"]


def test_data_size_goes_by_the_elements_of_an_item():
    figure = charts.latency_size(factory.run_of())
    assert figure.layout["xaxis"]["tickvals"] == [16, 64, 256]
    assert figure.layout["xaxis"]["title"]["text"] == "tokens"
    assert len(traces(figure, "p99")) == 4  # 2 max_batch x 2 loads


def test_height_and_width_are_labelled_as_such():
    image = factory.ONE_POINT.requests[0].model_copy(update={"tokens": None, "height": (32, 64), "width": 48})
    run = factory.run_of(factory.ONE_POINT.model_copy(update={"requests": (image,)}))
    figure = charts.latency_size(run)
    assert figure.layout["xaxis"]["tickvals"] == [32 * 48, 64 * 48]
    assert figure.layout["xaxis"]["ticktext"] == ["32×48", "64×48"]
    assert figure.layout["xaxis"]["title"]["text"] == "height×width"


def test_what_does_not_vary_is_said_not_drawn():
    run = factory.run_of(factory.ONE_POINT)
    for make in (charts.latency_size, charts.latency_batch, charts.latency_max_batch):
        figure = make(run)
        assert not figure.traces and "doesn't vary" in figure.note


def test_batch_against_latency_of_each_class():
    figure = charts.latency_batch(factory.run_of(factory.OPEN_LOOP))
    assert figure.layout["xaxis"]["tickvals"] == [1, 8]
    assert {t["meta"]["legend"].split(",")[0] for t in traces(figure, "p50")} == {"short", "long"}


def test_the_breakdown_adds_up_to_the_mean_latency():
    run = factory.run_of()
    figure = breakdown(run)
    for i, point in enumerate(run.points):
        parts = [t["x"][i] for t in figure.traces]
        assert None not in parts
        assert sum(parts) == pytest.approx(point.latency_s.mean * 1e3)


def test_a_part_that_was_not_observed_is_not_drawn_as_nothing():
    run = factory.run_of()
    point = run.points[0]
    split = point.time_s.model_copy(update={"network_s": None})
    run = run.model_copy(update={"points": (point.model_copy(update={"time_s": split}),)})
    (network,) = [t for t in breakdown(run).traces if t["name"] == "network"]
    assert network["x"] == [None]
    assert "not observed" in network["hovertext"][0]


def test_a_point_without_statistics_has_no_bar_and_the_note_says_so():
    figure = breakdown(factory.run_of(without_server=(7,)))
    assert {t["x"][7] for t in figure.traces} == {None}
    assert "1 point without Triton's statistics" in figure.note
    everything = breakdown(factory.run_of(without_server=range(12)))
    assert not everything.traces and "could not be read" in everything.note


def test_bars_that_are_not_valid_are_hatched():
    figure = breakdown(factory.run_of(verdicts={0: "invalid", 1: "inconclusive"}))
    assert figure.traces[0]["marker"]["pattern"]["shape"][:3] == ["x", "/", ""]


def test_percentile_curves_show_a_dozen_valid_points_first():
    run = factory.run_of(factory.MANY, verdicts={0: "invalid"})
    some = run.model_copy(update={"points": run.points[:20]})
    figure = percentile_curves(some, samples.series_for(some))
    shown = {t["legendgroup"] for t in figure.traces if not t["meta"]["hidden"]}
    assert len(shown) == MOST_CURVES and run.points[0].id not in shown
    assert f"{MOST_CURVES} of 20" in figure.note


def test_the_thin_end_of_a_curve_is_faint_from_ten_requests_on():
    run = factory.run_of(factory.ONE_POINT)
    figure = percentile_curves(run, samples.series_for(run))
    solid, faint = figure.traces
    n = run.points[0].requests - run.points[0].errors
    assert solid["opacity"] == 1 and faint["opacity"] < 1
    assert max(solid["x"][:-1]) < n / 10 <= min(faint["x"][1:])
    assert solid["x"][-1] == faint["x"][0]  # they meet


def test_nothing_measured_draws_nothing():
    run = factory.run_of(measured=0)
    for figure in (charts.latency_throughput(run), breakdown(run), percentile_curves(run, {})):
        assert not figure.traces and figure.note


def test_two_things_that_vary_are_told_by_colour_and_dash():
    looks = styles([(a, b) for a in ("x", "y") for b in ("1", "2", "3")])
    assert len({(s.colour, s.dash) for s in looks.values()}) == 6
    assert looks["x", "1"].colour == looks["y", "1"].colour != looks["x", "2"].colour
    assert looks["x", "1"].dash == looks["x", "2"].dash != looks["y", "1"].dash


def test_twenty_eight_lines_all_look_different():
    looks = styles([(str(i),) for i in range(28)])
    assert len({tuple(asdict(s).values()) for s in looks.values()}) == 28
    assert {s.dash for s in looks.values()} == set(DASHES)


def test_the_percentile_shown_first_is_the_objectives_where_it_can_be():
    assert charts.default_percentile(factory.run_of()) == "p99"
    few = factory.run_of(verdicts=dict.fromkeys(range(12), "inconclusive"))
    assert charts.default_percentile(few) == "p90"
    p90 = factory.DEMO.model_copy(
        update={"objective": factory.DEMO.objective.model_copy(update={"p99_ms": None})}
    )
    assert charts.default_percentile(factory.run_of(p90)) == "p99"


def test_a_class_without_the_percentile_is_named_apart_from_its_neighbour():
    run = factory.run_of(factory.OPEN_LOOP)
    point = run.points[0]
    short, long = point.classes
    few = long.model_copy(update={"latency_s": long.latency_s.model_copy(update={"p99": None})})
    many = short.model_copy(update={"latency_s": short.latency_s.model_copy(update={"p99": 0.1})})
    run = run.model_copy(update={"points": (point.model_copy(update={"classes": (many, few)}),)})
    assert charts.latency_size(run).by_percentile["p99"]["absent"] == ["long of 50/s poisson"]


def test_names_reach_plotly_as_text():
    run = factory.run_of(factory.ONE_POINT, verdicts={0: "invalid"})
    point = run.points[0].model_copy(
        update={"params": {"protocol": "<b>x</b>"}, "reasons": ("<a href='x'>y</a>",)}
    )
    run = run.model_copy(update={"points": (point,)})
    series = samples.series_for(run)
    figures = (charts.latency_throughput(run), breakdown(run), percentile_curves(run, series))
    texts = [t["name"] for f in figures for t in f.traces]
    texts += [h for f in figures for t in f.traces for h in t.get("hovertext", ())]
    texts += list(figures[1].layout["yaxis"]["ticktext"])
    assert any("&lt;b&gt;x" in t for t in texts)
    assert not any("<b>x" in t or "<a " in t for t in texts)
