"""The sizes that a scenario will send are proven before it sends them, once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from harness.model.check import check_batches
from harness.model.export import export
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Scenario
from tests.model.test_onnx_batches import ALONE
from tests.model.test_onnx_files import model, saved, taken

pytestmark = pytest.mark.usefixtures("empty_cache")


def at(folder: Path, *asked: dict[str, int], said: list[str] | None = None) -> ModelArtifact:
    tell = (lambda _: None) if said is None else said.append
    return export("m.onnx", base_dir=folder, progress=tell, asked=asked)


def sizes(artifact: ModelArtifact) -> list[dict[str, int]]:
    return [case.axes for case in artifact.parity.cases]


def table(rows: int) -> Any:
    """x plus as many learned positions as it is long, of which there are so many."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], start=1, end=2),
        helper.make_node("Slice", ["positions", "zero", "s", "zero"], ["p"]),
        helper.make_node("Add", ["x", "p"], ["y"]),
    ]
    constants = {"positions": np.arange(rows, dtype=np.float32), "zero": np.array([0], np.int64)}
    return model(nodes, {"x": ["N", "n"]}, {"y": ["N", "n"]}, constants)


def test_a_size_that_is_asked_for_is_proven_and_kept_and_one_that_fails_is_refused(tmp_path: Path) -> None:
    saved(table(100), tmp_path)
    first = at(tmp_path)
    said: list[str] = []
    more = at(tmp_path, {"batch": 32, "n": 99}, {"batch": 1, "n": 99}, {"batch": 1, "n": 64}, said=said)
    assert sizes(more)[len(sizes(first)) :] == [{"batch": 2, "n": 64}, {"batch": 2, "n": 99}]
    assert said == ["comparing m at 2 more of the sizes that are asked for"]
    assert at(tmp_path, {"batch": 8, "n": 99}, said=said) == more
    assert len(said) == 1
    with pytest.raises(InputError, match=r"fails to run it at batch 2, n 101 .*give the request class sizes"):
        at(tmp_path, {"batch": 1, "n": 50}, {"batch": 1, "n": 101})


def test_of_many_sizes_the_ends_and_some_between_are_tried(tmp_path: Path) -> None:
    saved(table(5000), tmp_path)
    tried = [case["n"] for case in sizes(at(tmp_path, *({"batch": 1, "n": n} for n in range(1000, 2000))))]
    assert tried[4] == 1000 and tried[-1] == 1999 and len(tried) == 16


def test_of_a_model_that_triton_does_not_batch_the_rows_of_a_request_are_tried(tmp_path: Path) -> None:
    saved(ALONE["a result of all rows"][0], tmp_path)
    artifact = at(tmp_path, {"batch": 7})
    assert {"batch": 7} in sizes(artifact)
    half = export("m.onnx", base_dir=tmp_path, progress=lambda _: None, dtype="fp16", asked=[{"batch": 6}])
    assert {"batch": 6} in sizes(half) and {"batch": 7} in sizes(half)
    assert half.alone == artifact.alone


@pytest.mark.parametrize(
    ("server", "requests", "words"),
    [
        ({}, {}, None),
        ({"max_batch": 1}, {}, None),
        ({"max_batch": 16}, {"batch": 16}, None),
        (
            {"max_batch": 8},
            {},
            r"server\.max_batch asks .*and m\.onnx has none \(output 'z' is",
        ),
        (
            {"max_batch": [1, 8]},
            {"batch": 4},
            r"server\.max_batch asks.*leave server\.max_batch out",
        ),
        ({"queue_delay_us": 50}, {}, r"server\.queue_delay_us asks Triton for batches"),
    ],
)
def test_batches_that_triton_cannot_make_are_not_asked_for(
    server: dict[str, Any], requests: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    artifact = taken(saved(ALONE["a result of all rows"][0], tmp_path))
    data = {
        "model": "m.onnx",
        "server": server,
        "requests": [{"name": "r"} | requests],
        "load": {"concurrency": 1},
    }
    scenario = Scenario.model_validate(data, strict=False)
    if words is None:
        check_batches(scenario, artifact)
        return
    with pytest.raises(InputError, match=words):
        check_batches(scenario, artifact)
