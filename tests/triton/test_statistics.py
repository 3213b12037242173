from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schema.errors import ServerError
from harness.triton.control import Control
from harness.triton.statistics import TOTALS, Statistics, difference, read, snapshot

number = st.integers(0, 10**15)
counts = st.builds(
    Statistics,
    **dict.fromkeys(TOTALS, number),
    by_batch=st.dictionaries(st.integers(1, 8), st.tuples(number, number)),
)


def version(**changed: int) -> dict[str, Any]:
    """One version's entry as Triton writes it."""
    value = {
        "success": 0,
        "success_ns": 0,
        "fail": 0,
        "hits": 0,
        "computed": 0,
        "ns": 0,
        "inferences": 0,
    } | changed
    stage = {"count": value["computed"], "ns": value["ns"]}
    return {
        "inference_count": value["inferences"],
        "execution_count": value["computed"],
        "inference_stats": {
            "success": {"count": value["success"], "ns": value["success_ns"]},
            "fail": {"count": value["fail"], "ns": 7},
            "queue": {"count": value["success"], "ns": value["ns"]},
            "compute_input": stage,
            "compute_infer": stage,
            "compute_output": stage,
            "cache_hit": {"count": value["hits"], "ns": 0},
        },
    }


def test_versions_are_summed() -> None:
    document = {
        "model_stats": [
            version(success=3, computed=3, inferences=6, ns=10),
            version(success=2, fail=1, computed=1, hits=1, inferences=1, ns=5),
        ]
    }
    total = snapshot(document)
    assert (total.successes, total.failures, total.inferences, total.executions) == (5, 1, 7, 4)
    assert (total.cache_hits, total.computed, total.compute_infer_ns) == (1, 4, 15)


@pytest.mark.parametrize(
    "document", [{}, {"model_stats": [{}]}, {"model_stats": None}, {"model_stats": ["x"]}]
)
def test_another_servers_answer_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match="not Triton's"):
        snapshot(document)


@given(counts, counts)
def test_difference_is_exact_whatever_came_before(before: Statistics, spent: Statistics) -> None:
    sizes = {**before.by_batch, **spent.by_batch}
    by_batch = {
        b: (_of(before, b)[0] + _of(spent, b)[0], _of(before, b)[1] + _of(spent, b)[1]) for b in sizes
    }
    after = Statistics(**{n: getattr(before, n) + getattr(spent, n) for n in TOTALS}, by_batch=by_batch)
    figures = difference(before, after)
    assert figures.requests == spent.successes + spent.failures
    assert figures.inferences == spent.inferences
    assert figures.failures == spent.failures
    assert figures.cache_hits == spent.cache_hits
    if spent.executions:
        assert figures.mean_batch == spent.inferences / spent.executions
    if spent.computed:
        assert figures.compute_infer_s == pytest.approx(spent.compute_infer_ns / spent.computed / 1e9)
    found = {each.batch: (each.executions, each.mean_s * each.executions * 1e9) for each in figures.by_batch}
    assert found == {b: pytest.approx(v) for b, v in sorted(spent.by_batch.items()) if v[0]}


def _of(statistics: Statistics, batch: int) -> tuple[int, int]:
    return statistics.by_batch.get(batch, (0, 0))


def test_a_batch_takes_all_three_stages_and_versions_are_summed() -> None:
    def of(batch: int, count: int, ns: int) -> dict[str, Any]:
        stages = ("compute_input", "compute_infer", "compute_output")
        return {"batch_size": batch} | {stage: {"count": count, "ns": ns} for stage in stages}

    versions = [
        version() | {"batch_stats": [of(1, 3, 30), of(4, 1, 7)]},
        version() | {"batch_stats": [of(4, 2, 5)]},
    ]
    assert snapshot({"model_stats": versions}).by_batch == {1: (3, 90), 4: (3, 36)}
    with pytest.raises(ServerError, match="not Triton's"):
        snapshot({"model_stats": [version() | {"batch_stats": [{"batch_size": 1}]}]})


def test_a_batch_that_was_counted_is_not_forgotten() -> None:
    nothing = dict.fromkeys(TOTALS, 0)
    with pytest.raises(ServerError, match=r"statistics were reset .*counter of batches of 4 fell"):
        difference(Statistics(**nothing, by_batch={4: (3, 9)}), Statistics(**nothing, by_batch={4: (3, 8)}))


def test_what_nobody_passed_has_no_mean() -> None:
    nothing = snapshot({"model_stats": [version(success=4, computed=4)]})
    figures = difference(nothing, nothing)
    assert figures.requests == 0
    assert figures.mean_batch is figures.request_s is figures.queue_s is figures.compute_infer_s is None


def test_answers_from_the_cache_do_not_dilute_the_compute_time() -> None:
    nothing = snapshot({"model_stats": []})
    mixed = snapshot({"model_stats": [version(success=10, computed=2, hits=8, ns=2_000_000_000)]})
    assert difference(nothing, mixed).compute_infer_s == 1.0


@given(counts, st.sampled_from(TOTALS))
def test_any_counter_that_went_backwards_is_a_reset(before: Statistics, name: str) -> None:
    after = Statistics(**{n: getattr(before, n) - (n == name) for n in TOTALS}, by_batch=before.by_batch)
    with pytest.raises(ServerError, match="statistics were reset"):
        difference(before, after)


def test_a_snapshot_is_read_again_until_triton_has_counted_the_last_answer() -> None:
    counted = [3, 4, 5, 5, 9]

    class Settling(Control):
        def statistics(self, model: str, _version: int | None = None) -> dict[str, Any]:  # noqa: ARG002
            return {"model_stats": [version(success=counted.pop(0), computed=1)]}

    assert read(Settling("127.0.0.1", 1), "m").successes == 5
    assert counted == [9]


def test_reading_under_load_ends() -> None:
    class Busy(Control):
        requests = 0

        def statistics(self, model: str, _version: int | None = None) -> dict[str, Any]:  # noqa: ARG002
            Busy.requests += 1
            return {"model_stats": [version(success=Busy.requests, computed=1)]}

    assert read(Busy("127.0.0.1", 1), "m").successes == Busy.requests > 2
