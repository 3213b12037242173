import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.analysis.objective import standing
from harness.choice.workloads import answers
from harness.report.answer import (
    objective_line,
    overall_line,
    run_standing,
    short_names,
    told,
    verdict_line,
)
from harness.report.format import ms, number, setting, when
from harness.report.markdown import summary
from harness.report.table import print_table
from harness.schema.load import Load
from tests.report import factory


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (4.5, "4.50"),
        (12.34, "12.3"),
        (99.95, "100"),
        (0.9999, "1.00"),
        (12345.6, "12,346"),
        (999.6, "1,000"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


@given(st.floats(1e-9, 1e9))
def test_a_number_reads_back_within_half_a_percent(value):
    text = number(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_seconds_become_milliseconds():
    assert ms(0.0421) == "42.1"


def test_a_rate_reads_as_it_was_written():
    assert setting(50.0) == "50" and setting(2.5) == "2.5" and setting("grpc") == "grpc"


def test_a_time_reads_to_the_minute_in_utc():
    assert when("2026-03-02T10:29:41.5+01:00") == "2026-03-02 09:29 UTC"
    assert when("not a time") == "not a time"


def test_names_are_as_short_as_they_can_be():
    paths = ["server.max_batch", "requests.short.tokens", "requests.long.tokens"]
    assert list(short_names(paths).values()) == ["max_batch", "short.tokens", "long.tokens"]


def best(run):
    """The ids of the best points, one a workload."""
    return [answer.point.id if answer.point else None for answer in told(run)]


def test_only_valid_points_are_judged_and_only_they_can_be_best():
    run = factory.run_of()
    of_16_tokens = [p for p in run.points if p.params["requests.text.tokens"] == 16]
    fastest = max(of_16_tokens, key=lambda p: p.throughput_inferences_per_s)
    assert best(run)[0] == fastest.id and len(best(run)) == 3
    assert run_standing(run) == "missed"
    spoiled = factory.run_of(verdicts=dict.fromkeys(range(12), "invalid"))
    assert best(spoiled) == [None] * 3 and run_standing(spoiled) == "unknown"
    assert "no point is valid" in objective_line(spoiled)
    place = run.points.index(fastest)
    assert best(factory.run_of(verdicts={place: "inconclusive"}))[0] not in (None, fastest.id)


def test_a_point_that_misses_the_objective_is_not_best():
    def with_limit(p99_ms):
        objective = factory.DEMO.objective.model_copy(update={"p99_ms": p99_ms})
        return factory.run_of(factory.DEMO.model_copy(update={"objective": objective}))

    tight = told(with_limit(20.0))
    assert any(answer.point is None for answer in tight) and any(answer.point for answer in tight)
    assert all(standing(each.point.objective) == "met" for each in tight if each.point)
    assert best(with_limit(0.1)) == [None] * 3


def with_rates(rates, relative=0.02):
    """The demo's points at concurrency 8 alone, by max batch (1, 16) and tokens (16, 64, 256)."""
    run = factory.run_of(factory.DEMO.model_copy(update={"load": Load(concurrency=8)}))
    points = tuple(
        point.model_copy(
            update={
                "throughput_inferences_per_s": rate,
                "throughput_interval_95": (rate * (1 - relative), rate * (1 + relative)),
                "objective": tuple(check.model_copy(update={"met": True}) for check in point.objective),
            }
        )
        for point, rate in zip(run.points, rates, strict=True)
    )
    return run.model_copy(update={"points": points, "answers": answers(points)})


def test_whether_one_configuration_does_for_all_workloads_is_said():
    # max batch 1 is the best at 16 tokens, 16 at 256
    apart = with_rates([900, 300, 100, 500, 300, 200])
    assert overall_line(apart) == "no configuration is the best at every workload"
    assert [each.line.split(" at ")[1] for each in told(apart)][::2] == [
        "max_batch 1, concurrency 8",
        "max_batch 16, concurrency 8",
    ]
    # at 16 tokens the two can't be told apart
    close = with_rates([205, 300, 100, 200, 300, 200])
    assert overall_line(close) == "max_batch 16 is the best at every workload, or can't be told from it"
    for text in (summary(close), printed(close)):
        assert "is the best at every workload, or can" in text
    assert overall_line(factory.run_of(factory.ONE_POINT)) == ""


def printed(run):
    out = io.StringIO()
    print_table(run, Console(file=out, width=160))
    return out.getvalue()


def test_without_an_objective_nothing_is_met():
    run = factory.run_of(factory.ONE_POINT)
    assert run_standing(run) == "none" and objective_line(run) == "no objective was set"
    assert verdict_line(run) == "1 point measured: 1 valid"
