"""A shape of load that another package adds is one like harness's own, and a broken one is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.extensions import extensions
from harness.load.arrivals import schedule, warmup_load
from harness.schema.errors import InputError
from harness.schema.expansion import expand, point_at
from harness.schema.point import Point
from harness.schema.scenario import Scenario
from harness.schema.shapes.all_shapes import shapes
from harness.store.scenario_file import json_schema, load_scenario
from tests.extension import installed
from tests.schema.sine import package_with_sine
from tests.store.broken_scenarios import GOOD

SINE = "{mean_per_s: [40, 80], swing_per_s: 30, period_s: 2}"
PLAIN = GOOD.replace("  at_most_s: 20\n  precision: {p99: 0.05, throughput: 0.02}\n", "")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    extensions.cache_clear()
    yield
    extensions.cache_clear()


@pytest.fixture
def sine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package_with_sine(tmp_path)))


def written(folder: Path, load: str, text: str = PLAIN) -> Path:
    file = folder / "scenario.yaml"
    file.write_text(text.replace("concurrency: 8", load))
    return file


def refused(folder: Path, load: str, text: str = PLAIN) -> str:
    with pytest.raises(InputError) as caught:
        load_scenario(written(folder, load, text))
    return str(caught.value)


@pytest.mark.usefixtures("sine")
def test_an_added_shape_is_read_varied_labelled_and_written(tmp_path: Path) -> None:
    loaded = load_scenario(written(tmp_path, f"sine: {SINE}\n  arrivals: poisson"))
    one, two = loaded.points
    assert one.params == {"load.sine.mean_per_s": 40.0} and two.params == {"load.sine.mean_per_s": 80.0}
    assert one.load.label == "sine 40 ± 30/s poisson" == one.load.short_label
    assert one.load.open_loop and not one.load.steady_by_design
    assert one.id.startswith("mean-per-s-40.0-") and one.id != two.id
    text = loaded.scenario.model_dump_json(exclude_none=True)
    assert json.loads(text)["load"]["sine"] == {"mean_per_s": [40, 80], "swing_per_s": 30, "period_s": 2}
    assert expand(Scenario.model_validate_json(text)) == loaded.points
    assert Point.model_validate_json(two.model_dump_json()) == two
    for point in loaded.points:
        assert point_at(loaded.scenario, point.params) == point
    users = point_at(loaded.scenario, {"load.concurrency": 3})
    assert users.load.label == "concurrency 3"
    again = point_at(load_scenario(written(tmp_path, "concurrency: 8")).scenario, {
        "load.arrivals": "poisson",
        "load.sine.mean_per_s": 40, "load.sine.swing_per_s": 30, "load.sine.period_s": 2,
    })  # fmt: skip
    assert again.load == one.load


@pytest.mark.usefixtures("sine")
def test_its_rate_is_what_is_sent(tmp_path: Path) -> None:
    point = load_scenario(written(tmp_path, f"sine: {SINE}")).points[0]
    times = schedule(point.load, 8.0, 1, tmp_path)
    assert len(times) == pytest.approx(320, abs=1)
    up, down = np.histogram(times % 2, bins=[0, 1, 2])[0] / 4
    assert up == pytest.approx(40 + 30 * 2 / np.pi, abs=1) and down == pytest.approx(
        40 - 30 * 2 / np.pi, abs=1
    )
    assert warmup_load(point.load, times, 8.0).shape.nominal_rate_per_s == 40


@pytest.mark.usefixtures("sine")
def test_what_is_wrong_with_it_is_told_with_the_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "wave: 3").endswith(
        "scenario.yaml:12: unknown key `load.wave`: the keys here are concurrency, rate_per_s, ramp, spike, "
        "replay, sine, arrivals, cv, workers"
    )
    assert refused(tmp_path, "sines: 3").endswith("did you mean `sine`?")
    assert "did you mean `mean_per_s`" in refused(tmp_path, f"sine: {SINE.replace('mean_', 'meen_')}")
    assert "exactly one of `concurrency`, `rate_per_s`, `ramp`, `spike`, `replay`, `sine`; here: " in (
        both := refused(tmp_path, f"sine: {SINE}\n  rate_per_s: 3")
    ) and both.endswith("`rate_per_s` and `sine`")
    assert "\n" not in both
    over = refused(tmp_path, f"sine: {SINE.replace('30', '50')}")
    assert over.endswith(
        "scenario.yaml:11: load: `sine`: swing_per_s is over mean_per_s, and no rate is under 0"
    )
    changes = refused(tmp_path, f"sine: {SINE}", GOOD)
    assert (
        "measure.precision asks for more of the same, and the load (sine 40 ± 30/s constant) changes"
        in changes
    )


@pytest.mark.usefixtures("sine")
def test_the_schema_for_editors_describes_it() -> None:
    schema = json.loads(json_schema())
    assert schema["$defs"]["Load"]["properties"]["sine"]["anyOf"][0] == {"$ref": "#/$defs/Sine"}
    assert schema["$defs"]["Sine"]["description"] == "A rate that swings around its mean."
    assert {"type": "array"}.items() <= schema["$defs"]["Sine"]["properties"]["mean_per_s"]["anyOf"][
        1
    ].items()


def test_without_the_package_its_key_is_unknown(tmp_path: Path) -> None:
    assert "unknown key `load.sine`" in refused(tmp_path, f"sine: {SINE}")


HEAD = "from harness.schema.shapes.shape import LoadShape\nclass Shape(LoadShape):\n    "
LABEL = "\n    @property\n    def label(self): return 'x'\n"


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("wave", "Shape = 3", "is no subclass of harness.schema.shapes.shape.LoadShape"),
        ("wave", HEAD + "key = 'wave'", "doesn't say its label"),
        ("wave", HEAD + "key = 'sine'" + LABEL, "has another `key`"),
        ("wave", HEAD + "size_: int" + LABEL, "has another `key`"),
        ("ramp", HEAD + "key = 'ramp'" + LABEL, "needs another name"),
        ("workers", HEAD + "key = 'workers'" + LABEL, "needs another name"),
        ("my-wave", HEAD + "key = 'my-wave'" + LABEL, "needs another name"),
        ("wave", HEAD + "key = 'wave'; varied = ('rate',)" + LABEL, "hasn't: rate"),
        ("wave", "import nowhere_at_all", "can't be imported"),
    ],
)
def test_one_that_can_not_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, says: str
) -> None:
    module = {name: source}
    monkeypatch.syspath_prepend(str(installed(tmp_path, "load_shapes", module, attribute="Shape")))
    monkeypatch.delitem(
        __import__("sys").modules, f"harness_extension_load_shapes_{name.replace('-', '_')}", False
    )
    with pytest.raises(InputError, match=says) as caught:
        shapes()
    assert repr(name) in str(caught.value) and "uninstall" in str(caught.value)
    assert says in refused(tmp_path, "concurrency: 8"), "a scenario is not read past it"
