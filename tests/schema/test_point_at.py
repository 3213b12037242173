"""One point of a scenario at settings and a load that a caller names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schema.errors import InputError
from harness.schema.expansion import expand, point_at
from harness.schema.scenario import Scenario


def scenario(**keys: Any) -> Scenario:
    plain = {
        "model": "minilm",
        "server": {"max_batch": [4, 8]},
        "requests": [
            {"name": "a.b", "tokens": 16, "axes": {"n.x": 3}},
            {"name": "long", "tokens": [64, 128]},
        ],
        "load": {"rate_per_s": 50, "arrivals": "gamma", "cv": 2},
    }
    return Scenario.model_validate_json(json.dumps(plain | keys))


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3, unique=True)


LOADS = st.one_of(
    st.fixed_dictionaries({"concurrency": one_or_more(st.integers(1, 64))}),
    st.fixed_dictionaries(
        {"rate_per_s": one_or_more(st.floats(0.5, 900))},
        optional={"arrivals": st.sampled_from(["constant", "poisson"])},
    ),
    st.just({"rate_per_s": 3, "arrivals": "gamma", "cv": 0.5}),
    st.just({"ramp": {"from_per_s": 1, "to_per_s": 9.5}, "arrivals": "poisson"}),
    st.just({"replay": {"file": "times.txt"}}),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    keys: dict[str, Any] = {
        "server": {
            "max_batch": draw(one_or_more(st.integers(8, 32))),
            "instances": draw(one_or_more(st.integers(1, 4))),
        },
        "requests": [
            {"name": "a.b", "tokens": draw(one_or_more(st.integers(1, 512))), "axes": {"n.x": 3}},
            {"name": "n", "batch": draw(one_or_more(st.integers(1, 8)))},
        ],
        "load": draw(LOADS),
        "protocol": draw(one_or_more(st.sampled_from(["http", "grpc"]))),
    }
    if draw(st.booleans()):
        keys["dtype"] = draw(one_or_more(st.sampled_from(["fp16", "fp32"])))
    return scenario(**keys)


@given(scenarios())
def test_every_point_of_a_scenario_is_had_again_by_its_params(asked: Scenario) -> None:
    points = expand(asked)
    assert point_at(asked, {}) == points[0].model_copy(update={"params": point_at(asked, {}).params})
    for point in points[:40]:
        assert point_at(asked, point.params) == point


def test_values_need_not_be_among_the_scenarios() -> None:
    named = {"server.max_batch": 16, "requests.long.tokens": 200, "load.rate_per_s": 250}
    point = point_at(scenario(), named)
    assert (point.server.max_batch, point.load.label) == (16, "250/s gamma (cv 2)")
    assert [each.axes for each in point.requests] == [{"tokens": 16, "n.x": 3}, {"tokens": 200}]
    assert point.params == named
    listed = scenario(
        server={"max_batch": [4, 16]},
        requests=[{"name": "a.b", "tokens": 16, "axes": {"n.x": 3}}, {"name": "long", "tokens": [64, 200]}],
        load={"rate_per_s": [50, 250], "arrivals": "gamma", "cv": 2},
    )
    assert point in expand(listed), "the same specification is the same point, with the same id"


def test_what_is_named_stands_in_the_label_and_a_scenarios_only_value_in_no_id() -> None:
    plain, named = point_at(scenario(), {}), point_at(scenario(), {"load.rate_per_s": 50})
    assert plain.id == named.id == expand(scenario())[0].id
    assert named.label == "max_batch 4, tokens 64, rate_per_s 50.0"


def test_names_with_dots_are_told_apart() -> None:
    point = point_at(scenario(), {"requests.a.b.tokens": 9, "requests.a.b.axes.n.x": 2})
    assert point.requests[0].axes == {"tokens": 9, "n.x": 2}


def test_a_load_of_another_shape_takes_the_scenarios_place() -> None:
    users = point_at(scenario(), {"load.concurrency": 8})
    assert users.load.label == "concurrency 8" and users.load.arrivals is None and users.load.cv is None
    assert users in expand(scenario(load={"concurrency": [8, 9]}))
    ramp = point_at(scenario(), {"load.ramp.from_per_s": 1, "load.ramp.to_per_s": 9})
    assert ramp.load.label == "ramp 1 to 9/s gamma (cv 2)", "what isn't named is the scenario's"
    rate = point_at(
        scenario(load={"concurrency": [1, 8]}), {"load.rate_per_s": 5, "load.arrivals": "poisson"}
    )
    assert rate.load.label == "5/s poisson" and "load.concurrency" not in rate.params


def test_other_arrivals_have_their_own_cv_or_none() -> None:
    assert point_at(scenario(), {"load.arrivals": "poisson"}).load.label == "50/s poisson"
    assert point_at(scenario(), {"load.cv": 3}).load.label == "50/s gamma (cv 3)"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"server.max_batsh": 3}, "no setting 'server.max_batsh': did you mean `server.max_batch`"),
        ({"x": 3}, "name one of dtype, server.max_batch, .*load.concurrency"),
        ({"requests.long.height": 3}, "no setting 'requests.long.height'"),
        ({"load.workers": 2}, "no setting 'load.workers'"),
        ({"server.max_batch": [4, 8]}, r"server.max_batch is \[4, 8\], and a point has one value"),
        ({"dtype": None}, "dtype is None"),
        ({"server.max_batch": 0}, "`server.max_batch` is 0, but must be greater than or equal to 1"),
        ({"server.max_batch": "8"}, '`server.max_batch` is "8", but must be a whole number'),
        ({"dtype": "fp17"}, "must be one of fp32, fp16: did you mean `fp16`"),
        ({"load.rate_per_s": float("nan")}, "must be a finite number"),
        ({"load.concurrency": 8, "load.rate_per_s": 5}, "here: `concurrency` and `rate_per_s`"),
        ({"load.concurrency": 8, "load.arrivals": "poisson"}, "`concurrency` has its own"),
        ({"load.ramp.from_per_s": 1}, "`load.ramp.to_per_s` is missing: add it"),
        ({"load.rate_per_s": -1}, "`load.rate_per_s` is -1, but must be greater than 0"),
        ({"load.arrivals": "gamma"}, "`cv` and `arrivals: gamma` go together"),
        ({"requests.long.batch": 5}, "batch 5, but server.max_batch is 4"),
        (
            {"server.preferred_batch": 9},
            "preferred_batch is 9, and no batch is larger than server.max_batch, 4",
        ),
        ({"server.provider": "tensorrt", "server.cuda_graph": True}, "can't be had with provider tensorrt"),
    ],
)
def test_what_a_scenario_could_not_have_is_refused_in_a_sentence(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        point_at(scenario(), settings)


def test_a_precision_is_not_asked_of_a_load_that_changes() -> None:
    precise = scenario(measure={"at_most_s": 20, "precision": {"p50": 0.05}})
    with pytest.raises(InputError, match=r"the load \(ramp 1 to 9/s"):
        point_at(precise, {"load.ramp.from_per_s": 1, "load.ramp.to_per_s": 9})
