import io

import pytest
from rich.console import Console

from harness.report.format import ms, number, span
from harness.report.table import print_table
from tests.report import factory

RUN = factory.run_of(verdicts={5: "invalid", 2: "inconclusive"}, without_server=(7,))


MANY = factory.run_of(factory.MANY)


def printed(run, width, *, terminal=False, page=None, everything=False):
    out = io.StringIO()
    print_table(
        run,
        Console(
            file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else "auto"
        ),
        page,
        everything=everything,
    )
    return out.getvalue()


def table_lines(text):
    return [line for line in text.splitlines() if "|" in line]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_no_line_of_the_table_is_wider_than_the_console_and_nothing_is_cut(width):
    text = printed(RUN, width)
    assert len(table_lines(text)) == 2 + len(RUN.points)
    assert all(len(line) <= width for line in table_lines(text))
    assert "…" not in text


def test_where_no_table_fits_the_figures_stand_below_each_other():
    text = printed(RUN, 20)
    assert "|" not in text
    assert text.count("  throughput: ") == text.count("  p99: ") == len(RUN.points)
    first = RUN.points[0]
    assert f"{first.id}: {first.verdict}\n  tokens: 16\n  max_batch: 1\n" in text
    assert f"  throughput: {number(first.throughput_inferences_per_s)} inf/s\n" in text
    assert "  p99: –\n" in text


def test_less_important_columns_go_first():
    heads = [table_lines(printed(RUN, width))[0] for width in (60, 100, 160)]
    kept = [{c.strip() for c in head.split("|")} for head in heads]
    assert kept[0] < kept[1] < kept[2]
    assert {"max_batch", "tokens", "load", "verdict", "p99 ms"} <= kept[0]
    assert "throughput inf/s" in kept[1] and "objective" in kept[1]
    assert "bottleneck" in kept[2] and "errors" in kept[2] and "client cores" not in kept[2]


def test_all_there_is_stands_in_a_wide_console_and_p99_9_is_the_first_to_go():
    heads = [table_lines(printed(RUN, width))[0] for width in (300, 230)]
    assert all(name in heads[0] for name in ("p99.9 ms", "mean batch", "client cores", "left out s"))
    assert "p99.9" not in heads[1] and "p90 ms" in heads[1]


def test_intervals_go_before_the_dearest_columns():
    wide, narrow = printed(RUN, 120), printed(RUN, 80)
    figure = f"{ms(RUN.points[0].latency_s.p99)} ({span(RUN.points[0].latency_s.interval_95['p99'], ms)})"
    assert figure in wide and figure not in narrow
    assert ms(RUN.points[0].latency_s.p99) in narrow


def test_a_dash_has_its_reason_below():
    line = next(line for line in printed(RUN, 300).splitlines() if line.startswith("–: "))
    assert "a p99 takes at least 381 requests" in line and "Triton's statistics could not be read" in line


def test_a_point_that_the_response_cache_answered_says_so_of_its_compute():
    cached = RUN.points[0].server.model_copy(
        update={"executions": 0, "cache_hits": 900, "mean_batch": None, "compute_infer_s": None}
    )
    points = (RUN.points[0].model_copy(update={"server": cached}), *RUN.points[1:])
    text = printed(RUN.model_copy(update={"points": points}), 300)
    assert "the model was not executed: every answer came from the response cache" in text


def test_the_best_point_s_bottleneck_is_shown():
    text = printed(factory.run_of(), 120)
    assert "bottleneck: compute: the instance was busy 97% of the time" in text


def test_the_figures_are_the_points():
    header, _, first, *_ = table_lines(printed(RUN, 200))
    cells = dict(
        zip((c.strip() for c in header.split("|")), (c.strip() for c in first.split("|")), strict=True)
    )
    p99, throughput = (cells[name].split(" ")[0] for name in ("p99 ms", "throughput inf/s"))
    assert float(p99) == pytest.approx(RUN.points[0].latency_s.p99 * 1e3, rel=0.005)
    assert float(throughput) == pytest.approx(RUN.points[0].throughput_inferences_per_s, rel=0.005)


def test_where_it_is_not_a_terminal_it_is_plain():
    assert "\x1b" not in printed(RUN, 100)


def test_on_a_terminal_verdicts_have_colours():
    text = printed(RUN, 160, terminal=True)
    assert "\x1b[32mvalid" in text
    assert "33minconclusive" in text and "31minvalid" in text
    assert "\x1b[31mmissed" in text


def test_reasons_objective_and_page_each_have_a_line(tmp_path):
    lines = printed(RUN, 60, page=tmp_path / "report.html").splitlines()
    assert RUN.points[5].reasons
    for reason in RUN.points[5].reasons:
        assert f"{RUN.points[5].id}: {reason}" in lines
    limits = "p99 ≤ 200 ms, errors ≤ 0.1% (a failed request is over every limit)"
    assert f"objective: {limits}: met at 9, missed at 1 of 10 valid points" in lines
    assert f"page: {tmp_path / 'report.html'}" in lines
    assert "points: 12 points measured: 10 valid, 1 invalid, 1 inconclusive" in lines


def test_brackets_in_a_name_are_not_markup():
    run = factory.run_of(factory.ONE_POINT, verdicts={0: "invalid"})
    point = run.points[0].model_copy(
        update={"reasons": ("[red]not markup[/red]", "[/nor this]"), "params": {"protocol": "[b]nor this"}}
    )
    text = printed(run.model_copy(update={"points": (point,)}), 100)
    assert "[red]not markup[/red]" in text and "[/nor this]" in text and "[b]nor this" in text


def test_no_point_at_all_is_said():
    text = printed(factory.run_of(measured=0), 100)
    assert "points: 0 of 12 planned points measured" in text and "best" not in text


def test_the_answers_come_first_one_a_workload():
    before, _, _ = printed(RUN, 160).partition("| max_batch")
    assert [line.split(":")[0] for line in before.splitlines() if line.startswith("best at")] == [
        "best at tokens 16",
        "best at tokens 64",
        "best at tokens 256",
    ]
    of_256 = next(answer for answer in RUN.answers if answer.workload["requests.text.tokens"] == 256)
    assert of_256.ties and of_256.undecided
    assert "  1 other configuration can't be told from it: max_batch 16\n" in before
    assert "  1 point can't be judged and may be better: max_batch 1, concurrency 8\n" in before


def test_rows_are_grouped_by_what_is_given():
    header, _, *lines = table_lines(printed(RUN, 160))
    assert header.split("|")[0].strip() == "tokens"
    assert [int(line.split("|")[0]) for line in lines] == [16] * 4 + [64] * 4 + [256] * 4


def test_of_many_points_those_are_listed_that_the_answers_name_and_all_on_request():
    text = printed(MANY, 160)
    lines = table_lines(text)[2:]
    best = {each.best for each in MANY.answers}
    assert len(MANY.answers) == 5 and len(lines) == 20 < len(MANY.points) == 200
    assert "listed: 20 of 200 points, those that the answers name; --all lists them all" in text
    for workload in MANY.answers:
        (point,) = (p for p in MANY.points if p.id == workload.best)
        assert point.id in best
        assert any(ms(point.latency_s.p99) in line for line in lines)
    assert len(text.splitlines()) < 90
    assert len(table_lines(printed(MANY, 160, everything=True))) == 202
    assert "listed" not in printed(RUN, 160)
