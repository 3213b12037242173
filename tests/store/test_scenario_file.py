from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import yaml_file
from harness.commands.dry_run import RELOAD_S, plan
from harness.model.check import check_classes
from harness.schema.errors import InputError
from harness.schema.expansion import expand
from harness.schema.scenario import Scenario
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
    assert [(p.server.max_batch, p.load.shape.users) for p in points] == [(8, 1), (8, 8), (16, 1), (16, 8)]
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
    assert plain == only_id(GOOD.replace("threads: 1", "threads: 1\n  kind: auto"))
    for key in ("kind: gpu", "gpus: [0]", "provider: cuda", "cuda_graph: false"):
        assert plain != only_id(GOOD.replace("threads: 1", f"threads: 1\n  {key}"))
    assert plain != only_id(GOOD.replace("protocol: http", "protocol: http\ndtype: fp32"))
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
        ("protocol: http", "dtype: fp61", 2, "did you mean `fp16`"),
        ("protocol: http", "given: [protocl]", 2, "hasn't: did you mean `protocol`?"),
        ("protocol: http", "chosen: [load.concurrency]", 2, "a load is found or given: leave it out"),
        ("protocol: http", "given: protocol", 2, '`given` is "protocol", but must be a list'),
        ("protocol: http", "dtype: [fp32, fp61]", 2, "scenario.yaml:2: `dtype.1` is"),
        ("protocol: http", "dtype: []", 2, "must be at least one item"),
        ("threads: 1", "kind: cpu\n  gpus: [1]", 8, "server.gpus needs a GPU, and server.kind is cpu"),
        ("threads: 1", "provider: cuda\n  kind: cpu", 7, "leave out server.provider, or set server.kind to"),
        ("threads: 1", "kind: cpu\n  cuda_graph: [false, true]", 8, "server.cuda_graph needs a GPU"),
        ("protocol: http", "shared_memory: [none, cuda]", 2, "shared_memory cuda needs a GPU"),
        ("threads: 1", "gpus: [2, 0, 2]", 7, "names a GPU twice"),
        ("threads: 1", "provider: tensorrt\n  cuda_graph: true", 8, "can't be had with provider tensorrt"),
    ],
)
def test_an_error_names_the_line_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    text = GOOD.replace(old, new)
    if "shared_memory" in new:
        text = text.replace("threads: 1", "kind: cpu")
    with pytest.raises(InputError) as caught:
        load_scenario(written(tmp_path, text))
    assert f"scenario.yaml:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_dtype_varies_slowest_because_it_loads_another_model(tmp_path: Path) -> None:
    text = GOOD.replace("protocol: http", "dtype: [fp16, fp32]").replace("max_batch: 8", "max_batch: [8, 16]")
    points = load_scenario(written(tmp_path, text)).points
    found = [(point.dtype, point.server.max_batch) for point in points]
    assert found == [("fp16", 8), ("fp16", 16), ("fp32", 8), ("fp32", 16)]
    assert points[0].params == {"dtype": "fp16", "server.max_batch": 8}
    assert points[0].id.startswith("dtype-fp16-max-batch-8-")


def test_another_dtype_is_another_load_of_the_model_in_the_expected_time(tmp_path: Path) -> None:
    varied = GOOD.replace("concurrency: 8", "concurrency: [1, 8]")
    one, two = (
        plan(load_scenario(written(tmp_path, text)))
        for text in (varied, varied.replace("protocol: http", "dtype: [fp16, fp32]"))
    )
    apart = plan(load_scenario(written(tmp_path, GOOD))).expected_s
    per_point = one.expected_s - apart
    assert two.expected_s == pytest.approx(one.expected_s + 2 * per_point + RELOAD_S)


def test_what_needs_a_gpu_may_be_asked_for_where_the_kind_leaves_it_open(tmp_path: Path) -> None:
    for kind in ("auto", "gpu"):
        given = f"kind: {kind}\n  gpus: [1, 0]\n  provider: [cuda, tensorrt]\n  cuda_graph: false"
        text = GOOD.replace("threads: 1", given).replace("protocol: http", "shared_memory: cuda")
        assert [p.server.provider for p in load_scenario(written(tmp_path, text)).points] == [
            "cuda",
            "tensorrt",
        ]
    assert load_scenario(
        written(tmp_path, GOOD.replace("threads: 1", "kind: cpu\n  cuda_graph: false"))
    ).points


GPU_SCENARIOS = sorted((ROOT / "scenarios").glob("gpu-*.yaml"))


@pytest.mark.parametrize("file", GPU_SCENARIOS, ids=lambda f: f.stem)
def test_a_scenario_for_gpus_asks_for_one_and_takes_less_than_two_hours(file: Path) -> None:
    loaded = load_scenario(file)
    assert {point.server.kind for point in loaded.points} == {"gpu"}
    assert plan(loaded).longest_s < 7200
    for point in loaded.points:
        check_classes(point.model, point.requests, base_dir=loaded.folder)


def test_the_scenarios_for_gpus_cover_what_users_ask_for() -> None:
    points = [point for file in GPU_SCENARIOS for point in load_scenario(file).points]
    for model, axis, sizes in (("encoder", "tokens", {32, 128, 512}), ("vision", "width", {224, 384, 512})):
        found = [point for point in points if point.model == model]
        assert {request.axes[axis] for point in found for request in point.requests} >= sizes
        assert {point.server.max_batch for point in found} >= {1, 8, 32, 128}
        assert {point.server.instances for point in found} == {1, 2, 4}
        assert {point.dtype for point in found} >= {"fp32", "fp16"}
    assert {request.batch for point in points for request in point.requests} >= {1, 8, 32, 128}
    smoke = load_scenario(ROOT / "scenarios/gpu-smoke.yaml")
    assert plan(smoke).longest_s < 200, "and the model's export, in five minutes"
    for varied in ("dtype", "server.max_batch", "server.instances", "protocol"):
        assert len({point.params[varied] for point in smoke.points}) == 2


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
