"""Each shape of load: its points' ids, its schedules, how it is written, and what it may not be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.load.arrivals import schedule, warmup_load
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.load import Load, PointLoad
from harness.schema.point import Point
from harness.schema.scenario import Scenario
from harness.schema.shapes.all_shapes import shapes
from harness.schema.shapes.profile import GivenTimes, Profile, RateOverTime, Segment
from harness.schema.shapes.shape import LoadShape

RAMP = {"ramp": {"from_per_s": 5, "to_per_s": 80}}
SPIKE = {"spike": {"base_per_s": 10, "peak_per_s": 200, "at_s": 3, "for_s": 2.5}}
POISSON, GAMMA = {"arrivals": "poisson"}, {"arrivals": "gamma", "cv": 2.5}
TIMES = "0\n0.25\n0.25\n1.5\n9\n30\n"

RECORDED = [
    ({"concurrency": 8}, "6217c317", "concurrency 8", None, None),
    ({"rate_per_s": 50}, "d50a0173", "50/s constant", "500:1ab682e50e13", "100:f16222aa2e77"),
    ({"rate_per_s": 50} | POISSON, "872249ee", "50/s poisson", "485:968afcb7551d", "111:3a56cf757c8e"),
    ({"rate_per_s": 50} | GAMMA, "13d92fe6", "50/s gamma (cv 2.5)", "583:3fd9872e5bfc", "85:7f9ac284ea98"),
    (RAMP, "a6265952", "ramp 5 to 80/s constant", "425:bb2331c7ed20", "10:026dcf2f01e3"),
    (RAMP | POISSON, "4620a2a9", "ramp 5 to 80/s poisson", "414:6aff43dd0045", "14:5c1a43b557ca"),
    (RAMP | GAMMA, "523d1786", "ramp 5 to 80/s gamma (cv 2.5)", "495:f59b4cdad9f0", "18:5de3d46344f6"),
    (SPIKE, "b460413a", "spike 10 to 200/s constant", "575:3c2c5b9d7b75", "20:fb8aadccc906"),
    (SPIKE | POISSON, "458b89c1", "spike 10 to 200/s poisson", "563:349b34852fe2", "28:f4734b6cb104"),
    (SPIKE | GAMMA, "5eb25d23", "spike 10 to 200/s gamma (cv 2.5)", "650:b27968638bf4", "38:72ef8c57dfa5"),
    ({"replay": {"file": "times.txt"}}, "d2601ec8", "replay times.txt", "5:efdfbe3ec687", "2:2eb77f9fec11"),
]  # fmt: skip
"""The load, the point's id, its label, and the schedules of the measured phase and the warm-up, recorded from
the version before shapes had files of their own."""

KEYS = ["concurrency", "rate_per_s", "ramp", "spike", "replay", "arrivals", "cv", "workers"]


def scenario(load: dict[str, Any]) -> Scenario:
    text = {"model": "minilm", "requests": [{"name": "a", "tokens": 16}], "load": load}
    return Scenario.model_validate_json(json.dumps(text))


def only_point(load: dict[str, Any]) -> Point:
    (point,) = expand(scenario(load))
    return point


def digest(times: np.ndarray) -> str:
    """Of how many there are, and when, to the microsecond: processors may differ in a float's last bit."""
    return f"{len(times)}:{hashlib.sha256(np.rint(times * 1e6).astype('<i8').tobytes()).hexdigest()[:12]}"


@pytest.mark.parametrize(("load", "id_", "label", "measured", "warmup"), RECORDED, ids=lambda v: str(v)[:40])
def test_ids_and_schedules_are_those_of_every_version(
    tmp_path: Path, load: dict[str, Any], id_: str, label: str, measured: str | None, warmup: str | None
) -> None:
    (tmp_path / "times.txt").write_text(TIMES)
    point = only_point(load)
    assert (point.id, point.load.label) == (id_, label)
    assert point.load.open_loop == (measured is not None)
    if point.load.open_loop:
        times = schedule(point.load, 10.0, 7, tmp_path)
        assert digest(times) == measured
        assert digest(schedule(warmup_load(point.load, times, 10.0), 2.0, 8, tmp_path)) == warmup


@pytest.mark.parametrize("load", [each[0] for each in RECORDED], ids=lambda v: str(v)[:40])
def test_a_load_is_written_flat_and_read_again(load: dict[str, Any]) -> None:
    asked = scenario(load | {"workers": 3})
    assert asked.model_dump(mode="json", exclude_none=True)["load"] == load | {"workers": 3}
    assert Scenario.model_validate_json(asked.model_dump_json()) == asked
    (point,) = expand(asked)
    written = point.model_dump(mode="json")["load"]
    assert list(written) == KEYS
    spacing = {} if point.load.shape.spaced is False else {"arrivals": "constant"}
    assert {k: v for k, v in written.items() if v is not None} == spacing | load | {"workers": 3}
    assert Point.model_validate_json(point.model_dump_json()) == point


def test_a_list_is_read_as_it_was_written() -> None:
    asked = scenario({"rate_per_s": [20, 40.5]})
    assert asked.model_dump(mode="json", exclude_none=True)["load"] == {
        "rate_per_s": [20, 40.5],
        "workers": 1,
    }
    assert [point.load.shape.nominal_rate_per_s for point in expand(asked)] == [20, 40.5]


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (
            {"concurrency": 1, "rate_per_s": 5},
            r"give exactly one of .*; here: `concurrency` and `rate_per_s`",
        ),
        ({"arrivals": "poisson"}, r"give exactly one of .*`replay`; here: none"),
        ({"concurrency": 1, "arrivals": "poisson"}, "`arrivals` spaces .* `concurrency` has its own"),
        ({"replay": {"file": "x"}, "arrivals": "poisson"}, "`arrivals` spaces .* `replay` has its own"),
        ({"rate_per_s": 5, "cv": 2.0}, "go together"),
        ({"ramp": {"from_per_s": (1.0, 2.0), "to_per_s": 2.0}}, "valid number"),
        ({"shape": {"concurrency": 1}}, "Extra inputs"),
        ({"shape": "harness.schema.shapes.rate.Rate", "given": {}}, "Extra inputs"),
    ],
)
def test_a_load_that_is_none_is_refused(load: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Load.model_validate(load)
    with pytest.raises(ValidationError, match=says.replace("valid number", "valid (number|array)")):
        Load.model_validate_json(json.dumps(load))


def test_a_points_load_has_one_value_of_each() -> None:
    assert PointLoad.model_validate_json('{"concurrency": 2}').shape.users == 2
    for text in ('{"concurrency": [1, 2]}', "{}", '{"concurrency": 1, "rate_per_s": 5}', '{"shape": {}}'):
        with pytest.raises(ValidationError):
            PointLoad.model_validate_json(text)


def test_harness_has_five_shapes_of_its_own() -> None:
    assert list(shapes()) == KEYS[:5]


class Stated(LoadShape):
    """What a shape of another package may say, of which nothing is checked."""

    key = "stated"
    stated: Any

    @property
    def label(self) -> str:
        return "stated"

    def profile(self, duration_s: float) -> Profile:  # noqa: ARG002
        return self.stated() if callable(self.stated) else self.stated


def times(profile: Any, arrivals: Any = "constant", duration_s: float = 10.0) -> np.ndarray:
    return schedule(PointLoad(shape=Stated(stated=profile), arrivals=arrivals), duration_s, 1, Path())


def test_times_that_a_shape_gives_are_sent_up_to_the_phases_end() -> None:
    assert times(GivenTimes((0.0, 0.5, 0.5, 9.9, 10.0))).tolist() == [0, 0.5, 0.5, 9.9]
    for wrong in ((1.0, 0.5), (-1.0,), (0.0, np.nan), (0.0, np.inf), ((0.0, 1.0),)):
        with pytest.raises(InputError, match="ascending order"):
            times(GivenTimes(wrong))
    with pytest.raises(InputError, match="no arrival within 10 s"):
        times(GivenTimes(()))


def test_a_rate_may_be_nothing_for_a_while() -> None:
    """From 0 to 10/s in a second, 10/s for a second, nothing for a second, back from 10/s to 0."""
    profile = RateOverTime((Segment(1, 0, 10), Segment(2, 10, 10), Segment(3, 0, 0), Segment(4, 10, 0)))
    found = times(profile)
    assert np.isfinite(found).all() and found[0] == 0 and (np.diff(found) > 0).all()
    assert np.histogram(found, bins=[0, 1, 2, 3, 4])[0].tolist() == [5, 10, 0, 5]
    assert found[4] == pytest.approx(np.sqrt(4 * 2 / 10))
    warmup = warmup_load(PointLoad(shape=Stated(stated=profile)), found, 4)
    assert warmup.shape.nominal_rate_per_s == pytest.approx(len(found) / found[-1]), "it begins at 0"


@pytest.mark.parametrize(
    "segments",
    [(Segment(10, -1, 5),), (Segment(10, 5, float("nan")),), (Segment(5, 1, 1), Segment(4, 1, 1)), ()],
)
def test_what_is_no_rate_is_refused(segments: tuple[Segment, ...]) -> None:
    with pytest.raises(InputError, match=r"the load has no rate (up to|at any time)"):
        times(lambda: RateOverTime(segments))
