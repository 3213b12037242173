"""Each reason that refuses a comparison, by its name, tripped by nothing else than what it is about."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from harness.comparison.fairness import unfairness
from harness.comparison.subject import Subject
from harness.schema.compare_result import UnfairName
from harness.schema.result import Bottleneck
from harness.schema.scenario import Load, Measure, Objective, RequestClass, Server, Validity
from tests.comparison.subjects import SCENARIO, gpu_named, in_dtypes, searched, subject, with_point

REFERENCE = subject()


def asked(**changed: Any) -> Subject:
    """Measured by another scenario, on another machine."""
    return subject(SCENARIO.model_copy(update=changed), gpu_named("NVIDIA L40S"), run_id="b-run")


def model(**changed: Any) -> Subject:
    made = REFERENCE.run.model
    assert made is not None
    return subject(model=made.model_copy(update=changed))


def parity(tolerance: float) -> Subject:
    made = REFERENCE.run.model
    assert made is not None
    return model(parity=made.parity.model_copy(update={"tolerance": tolerance}))


TRIPPED: dict[str, tuple[UnfairName, Subject, str]] = {
    "another file": ("model", model(sha256="ab" * 32), "9f1c9f1c9f1c9f1c in a-run and abababababababab"),
    "not known": ("model", subject(model=None, run_id="b-run"), "not known (by b-run)"),
    "tolerance": ("parity", parity(1e-2), "0.0001 in a-run and 0.01"),
    "fp16": ("dtype", asked(dtype="fp16"), "dtype is as the model is in a-run and fp16 in b-run"),
    "longer texts": ("requests", asked(requests=(RequestClass(name="text", tokens=32),)), '"tokens": 32'),
    "another payload": (
        "requests",
        asked(requests=(RequestClass(name="text", tokens=16, payload="random"),)),
        "requests.text.payload",
    ),
    "client's batch": ("requests", asked(requests=(RequestClass(name="text", tokens=16, batch=4),)), "batch"),
    "another class": (
        "requests",
        asked(requests=(*SCENARIO.requests, RequestClass(name="more", tokens=16))),
        "requests.more",
    ),
    "a closed loop": ("load", asked(load=Load(concurrency=8)), "rate_per_s poisson in a-run and concurrency"),
    "other arrivals": ("load", asked(load=Load(rate_per_s=(50.0,), arrivals="constant")), "constant"),
    "another limit": ("objective", asked(objective=Objective(p99_ms=100, errors=0.001)), "p99_ms is 200.0"),
    "longer": ("length", asked(measure=Measure(warmup_s=2, duration_s=20)), "duration_s is 10.0 in a-run"),
    "laxer gates": ("limits", asked(validity=Validity(foreign_cpu=1)), "validity.foreign_cpu is 0.1"),
    "chosen among more": ("tuning", asked(server=Server(max_batch=(1, 8))), "server.max_batch is 8 in a-run"),
    "another setting": ("tuning", asked(protocol="grpc"), 'protocol is "http" in a-run and "grpc"'),
    "searched": ("tuning", searched(REFERENCE), "the search is none (harness run)"),
    "invalid": (
        "invalid",
        with_point(REFERENCE, 1, verdict="invalid"),
        "rate_per_s 100.0 of a-run is invalid",
    ),
    "client": (
        "client",
        with_point(REFERENCE, 2, bottleneck=Bottleneck(name="client", why="")),
        "rate_per_s 200.0 of a-run is held back by the client",
    ),
    "cut off": ("unfinished", subject(finished_at=None), "a-run didn't come to its end"),
}


@pytest.mark.parametrize("case", TRIPPED)
def test_each_reason_is_tripped_by_what_it_is_about(case: str) -> None:
    name, other, said = TRIPPED[case]
    found = unfairness([REFERENCE, other])
    expected = {"tuning", "length"} if case == "searched" else {name}
    assert {each.name for each in found} == expected, found
    assert said in found[-1].why or any(said in each.why for each in found), found


def test_no_reason_is_without_a_case() -> None:
    assert {name for name, _, _ in TRIPPED.values()} == set(get_args(UnfairName))


def test_two_machines_alike_measured_are_fair_whatever_they_are() -> None:
    other = subject(where=gpu_named("NVIDIA L40S", driver="550.1", power_limit_w=350.0), run_id="b-run")
    assert unfairness([REFERENCE, other]) == ()
    more_rates = asked(load=Load(rate_per_s=(50.0, 400.0), arrivals="poisson"))
    assert unfairness([REFERENCE, more_rates]) == (), "each machine has the rates that it can hold"
    assert unfairness([searched(REFERENCE), searched(other)]) == ()


def test_searches_differ_by_budget_goal_and_what_they_may_choose() -> None:
    one = searched(REFERENCE)
    assert _names(one, searched(REFERENCE, budget_s=600.0)) == {"length"}
    assert _names(one, searched(REFERENCE, goal="latency", rate_per_s=50.0)) == {"tuning"}
    assert _names(one, searched(REFERENCE, finished_at=None)) == {"unfinished"}
    assert one.search is not None
    two = [one.search.candidates[0].model_copy(update={"settings": {"server.max_batch": n}}) for n in (8, 16)]
    assert _names(one, searched(REFERENCE, candidates=tuple(two))) == {"tuning"}


def test_of_several_dtypes_those_that_both_have_must_be_one_file() -> None:
    both = [subject(**in_dtypes(REFERENCE.run, fp32="aa" * 32, fp16=sha * 32)) for sha in ("bb", "cc")]
    (only,) = unfairness(both)
    assert only.name == "model" and "in fp16 is bbbbbbbbbbbbbbbb" in only.why


def test_a_rate_that_was_too_much_is_an_answer_and_no_flaw() -> None:
    """The server was asked for more than it could: requests failed, and the point is invalid by that."""
    overloaded = with_point(REFERENCE, 2, verdict="invalid", errors=1000, requests=2000)
    assert unfairness([REFERENCE, overloaded]) == ()


def _names(*subjects: Subject) -> set[str]:
    return {each.name for each in unfairness(subjects)}
