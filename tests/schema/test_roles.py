"""What of a point is given, chosen and found."""

from __future__ import annotations

import pytest

from harness.schema.errors import InputError
from harness.schema.expansion import expand, point_at
from harness.schema.scenario import Load, RequestClass, Scenario, Server

SCENARIO = Scenario(
    model="m",
    server=Server(max_batch=(4, 8)),
    requests=(
        RequestClass(name="short", tokens=(8, 16)),
        RequestClass(name="long", batch=2, axes={"frames": 100}),
    ),
    load=Load(rate_per_s=(10.0, 20.0), arrivals="poisson"),
)


def test_sizes_and_batches_are_given_the_server_is_chosen_and_the_load_is_found() -> None:
    point = expand(SCENARIO)[0]
    assert point.workload == {
        "requests.short.batch": 1,
        "requests.short.tokens": 8,
        "requests.long.batch": 2,
        "requests.long.axes.frames": 100,
    }
    assert point.configuration == {
        "dtype": None,
        "server.max_batch": 4,
        "server.queue_delay_us": 0,
        "server.instances": 1,
        "server.threads": 1,
        "server.kind": "auto",
        "server.provider": None,
        "server.cuda_graph": None,
        "server.preferred_batch": None,
        "protocol": "http",
        "shared_memory": "none",
    }
    found = set(point.settings) - set(point.workload) - set(point.configuration)
    assert found == {"load.rate_per_s", "load.arrivals", "load.cv"}


def test_where_it_is_computed_may_be_chosen_like_the_rest() -> None:
    points = expand(SCENARIO.model_copy(update={"server": Server(kind=("cpu", "gpu"))}))
    assert len(points) == 8 and {point.configuration["server.kind"] for point in points} == {"cpu", "gpu"}
    fixed = expand(SCENARIO.model_copy(update={"server": Server(kind="cpu")}))
    assert {point.id for point in fixed}.isdisjoint(point.id for point in points), (
        "what is listed is in the id"
    )
    assert {point.server for point in fixed} < {point.server for point in points}


def test_every_setting_that_may_be_varied_has_its_place() -> None:
    """The settings of a point are those that `point_at` takes."""
    for point in expand(SCENARIO):
        named = {path: value for path, value in point.settings.items() if value is not None}
        assert point_at(SCENARIO, named).settings == point.settings


def test_a_user_may_declare_otherwise_and_nothing_else_of_the_point_changes() -> None:
    declared = SCENARIO.model_copy(
        update={"given": ("load.rate_per_s", "protocol"), "chosen": ("requests.short.tokens",)}
    )
    before, after = expand(SCENARIO)[0], expand(declared)[0]
    assert after.id == before.id
    assert after.workload["load.rate_per_s"] == 10.0 and after.workload["protocol"] == "http"
    assert "requests.short.tokens" not in after.workload
    assert after.configuration["requests.short.tokens"] == 8 and "protocol" not in after.configuration


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (
            {"given": ("server.max_batsh",)},
            "given names 'server.max_batsh', which the scenario hasn't: did you",
        ),
        ({"chosen": ("requests.short.width",)}, "chosen names 'requests.short.width', which the scenario"),
        (
            {"chosen": ("load.rate_per_s",)},
            "chosen names load.rate_per_s, and a load is found or given",
        ),
        (
            {"given": ("protocol",), "chosen": ("protocol",)},
            "given and chosen both name protocol: leave it out of one of them",
        ),
    ],
)
def test_what_can_not_be_declared_is_one_sentence(declared: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(InputError) as told:
        expand(SCENARIO.model_copy(update=declared))
    assert words in str(told.value) and "\n" not in str(told.value)
