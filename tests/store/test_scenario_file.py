from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.schema.errors import InputError
from harness.schema.point import expand
from harness.schema.scenario import Scenario
from harness.store import yaml_file
from harness.store.scenario_file import json_schema, load_scenario
from tests.store.broken_scenarios import GOOD

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    file = folder / "scenario.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", sorted((ROOT / "scenarios").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_scenario_that_ships_is_good(file: Path) -> None:
    assert load_scenario(file).points


def test_the_schema_for_editors_is_the_one_of_the_code() -> None:
    stored = (ROOT / "scenarios/scenario.schema.json").read_text()
    assert stored == json_schema(), "run `make schema`"


def test_a_list_is_varied_and_server_settings_vary_slowest(tmp_path: Path) -> None:
    text = GOOD.replace("max_batch: 8", "max_batch: [8, 16]").replace("concurrency: 8", "concurrency: [1, 8]")
    points = load_scenario(written(tmp_path, text)).points
    assert [(p.server.max_batch, p.load.concurrency) for p in points] == [(8, 1), (8, 8), (16, 1), (16, 8)]
    assert points[0].params == {"server.max_batch": 8, "load.concurrency": 1}


def test_a_points_id_depends_on_what_is_measured_and_on_nothing_else(tmp_path: Path) -> None:
    def only_id(text: str) -> str:
        (point,) = load_scenario(written(tmp_path, text)).points
        return point.id

    plain = only_id(GOOD)
    assert plain == only_id("# a comment\n" + GOOD)
    assert plain == only_id(GOOD.replace("p99_ms: 200", "p99_ms: 300")), "an objective only judges"
    assert plain == only_id(GOOD.replace("foreign_cpu: 0.2", "foreign_cpu: 1")), "so does a limit of validity"
    assert plain == only_id(GOOD.replace("concurrency: 8", "concurrency: 8\n  workers: 2")), "the same load"
    assert plain != only_id(GOOD.replace("p99: 0.05", "p99: 0.06"))
    assert plain != only_id(GOOD.replace("protocol: http", "protocol: http\nshared_memory: system"))
    assert plain != only_id(GOOD.replace("seed: 1", "seed: 2"))
    assert plain != only_id(GOOD.replace("tokens: 16", "tokens: 17"))
    alone = load_scenario(written(tmp_path, GOOD)).points[0].id
    varied = load_scenario(written(tmp_path, GOOD.replace("instances: 1", "instances: [1, 2]"))).points[0].id
    assert varied.rpartition("-")[2] == alone, "the hash is of the point, not of its neighbours"


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("server.max_batch=[8,16]", ("server", "max_batch")),
        ("requests.short.tokens=[8,16]", ("requests", 0, "tokens")),
        ("requests.1.tokens=[8,16]", ("requests", 1, "tokens")),
    ],
)
def test_set_overrides_a_key(tmp_path: Path, override: str, path: tuple[str | int, ...]) -> None:
    value = json.loads(load_scenario(written(tmp_path, GOOD), [override]).scenario.model_dump_json())
    for step in path:
        value = value[step]
    assert value == [8, 16]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("server.max_batch", "path=value"),
        ("server.max_batsh=3", "did you mean `max_batch`"),
        ("requests.shor.tokens=3", "did you mean `short`"),
        ("server.max_batch.x=3", "nothing can be set there"),
        ("model=!!python/name:os.system", "tag"),
        ("model=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_told_with_the_remedy(tmp_path: Path, override: str, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        load_scenario(written(tmp_path, GOOD), [override])


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("max_batch: 8", "max_batsh: 8", 4, "did you mean `max_batch`"),
        ("max_batch: 8", "max_batch: x", 4, "must be a whole number"),
        ("max_batch: 8", "max_batch: [8, x]", 4, "max_batch.1"),
        ("tokens: 128", "tokns: 128", 10, "did you mean `tokens`"),
        ("concurrency: 8", "concurency: 8", 12, "did you mean `concurrency`"),
        ("protocol: http", "protocol: htp", 2, "did you mean `http`"),
        ("seed: 1", "seed: !!int 1", 20, "tag"),
        ("p99: 0.05", "p90x: 0.05", 17, "did you mean `p90`"),
        ("max_batch: 8", "max_batch: 4", 4, "class 'long' has batch 8"),
    ],
)
def test_an_error_names_the_line_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(written(tmp_path, GOOD.replace(old, new)))
    assert f"scenario.yaml:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "times.txt").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="leaves the scenario's folder"):
        load_scenario(written(tmp_path, GOOD.replace("concurrency: 8", "replay: {file: times.txt}")))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text("abc xyz-_.", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, min_size=1, max_size=4))
def test_json_is_read_as_itself(data: dict[str, object]) -> None:
    assert yaml_file.parse(json.dumps(data), "t").data == data


@given(st.text(max_size=200))
def test_any_text_is_data_or_an_error_with_a_remedy(text: str) -> None:
    try:
        yaml_file.parse(text, "t")
    except InputError as error:
        assert str(error).startswith("t")


@given(PLAIN)
def test_no_value_anywhere_makes_more_than_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for key in ("server", "requests", "load", "measure", "objective", "model"):
        data = yaml_file.parse(GOOD, "t").data | {key: value}
        try:
            load_scenario(written(folder, json.dumps(data)))
        except InputError as error:
            assert "scenario.yaml:" in str(error)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_the_number_of_points_is_the_product_of_the_lists(a: int, b: int, c: int) -> None:
    data = {
        "model": "m",
        "server": {"max_batch": list(range(1, a + 1)), "instances": list(range(1, b + 1))},
        "requests": [{"name": "r"}],
        "load": {"rate_per_s": list(range(1, c + 1))},
    }
    points = expand(Scenario.model_validate_json(json.dumps(data)))
    assert len(points) == a * b * c
    assert len({p.id for p in points}) == len(points)
