"""What a server says of itself, over HTTP and JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import strategies as st

from harness.http_json import parsed
from harness.schema.errors import InputError, ServerError
from harness.schema.model import ModelArtifact, Parity
from harness.schema.tensors import TensorSpec
from harness.triton import answer_shapes
from harness.triton.as_loaded import check_tensors, differences, in_words, settings_of, with_settings
from harness.triton.control import MOST_SHOWN, plain
from harness.triton.provider import provider_of
from harness.triton.statistics import difference, snapshot
from tests.fuzz import fuzz, mutated
from tests.triton.models import settings

STAGE = {"count": 4, "ns": 1000}
STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit")
STATISTICS = {
    "model_stats": [
        {
            "name": "m",
            "version": "1",
            "inference_count": 4,
            "execution_count": "2",
            "inference_stats": dict.fromkeys(STAGES, STAGE),
        }
    ]
}
CONFIG = {
    "name": "m",
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, "3"]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
    "instance_group": [{"kind": "KIND_GPU", "count": 1, "gpus": [0, 1]}],
    "dynamic_batching": {"max_queue_delay_microseconds": 500},
    "optimization": {
        "execution_accelerators": {
            "gpu_execution_accelerator": [
                {"name": "tensorrt", "parameters": {"precision_mode": "FP16", "trt_dla_core": "1"}}
            ]
        },
        "cuda": {"graphs": False},
    },
    "parameters": {"intra_op_thread_count": {"string_value": "1"}},
    "response_cache": {"enable": True},
}
INDEX = [{"name": "m", "version": "1", "state": "READY"}, {"name": "n"}]
METADATA = {"name": "triton", "version": "2.51.0", "extensions": []}
ASKED = settings(max_batch=2, queue_delay_us=7, instances=3, threads=5, response_cache=True)
DOUBLE = ModelArtifact(
    name="m",
    kind="onnx",
    source="made by the tests",
    onnx_path="m.onnx",
    sha256="",
    inputs=(TensorSpec(name="x", datatype="FP32", axes=("batch", "n", 3)),),
    outputs=(TensorSpec(name="y", datatype="FP32", axes=("batch", 3)),),
    parity=Parity(reference="none: the file is the source", tolerance=0.0, cases=()),
)
SAMPLES = [json.dumps(each).encode() for each in (STATISTICS, CONFIG, INDEX, METADATA)]
ODD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1.5,
        1e300,
        2**63,
        2**64,
        "",
        "1",
        "x" * 500,
        "\x1b[2J",
        "\ud800",
        [],
        {},
        [[]],
        [{}],
        {"a": 1},
    ]
)


@st.composite
def reshaped(draw: st.DrawFn, document: Any) -> Any:
    """The document with parts of it replaced, left out or wrapped."""
    choice = draw(st.integers(0, 12))
    if choice == 0:
        return draw(ODD)
    if choice == 1:
        return [document]
    if isinstance(document, dict):
        return {key: draw(reshaped(value)) for key, value in document.items() if draw(st.integers(0, 15))}
    if isinstance(document, list):
        return [draw(reshaped(each)) for each in document]
    return document


said = st.one_of(
    mutated(*SAMPLES),
    st.one_of(*map(reshaped, (STATISTICS, CONFIG, INDEX, METADATA))).map(lambda d: json.dumps(d).encode()),
)


@fuzz(said)
def test_an_answer_has_the_shape_that_is_gone_on_with_or_is_one_sentence(text: bytes) -> None:
    with _one_sentence():
        assert answer_shapes.read(answer_shapes.METADATA, text, "it")["version"].isprintable()
    with _one_sentence():
        for model in answer_shapes.read(answer_shapes.INDEX, text, "it"):
            assert isinstance(model["name"], str) and model.get("state") not in (7, [])
    with _one_sentence():
        config: dict[str, Any] = {**answer_shapes.read(answer_shapes.MODEL_CONFIG, text, "it")}
        settings_of(config), in_words(config)
    with _one_sentence():
        config = {**answer_shapes.read(answer_shapes.MODEL_CONFIG, text, "it")}
        with suppress(InputError):
            check_tensors(config, DOUBLE, "it")
        with suppress(InputError):
            assert differences(config, with_settings(config, DOUBLE, ASKED)).isprintable()
    with _one_sentence():
        config = {**answer_shapes.read(answer_shapes.MODEL_CONFIG, text, "it")}
        name, options = provider_of(config)
        json.dumps([name, options], ensure_ascii=False).encode()
        _ = (config.get("instance_group") or [{}])[0].get("gpus")
    with _one_sentence():
        counted = snapshot(answer_shapes.read(answer_shapes.OBJECT, text, "it"))
        assert difference(counted, counted).requests == 0


class _one_sentence:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, ServerError):
            assert "\n" not in str(error) and len(str(error)) < MOST_SHOWN
            return True
        return False


@fuzz(said)
def test_json_is_read_or_a_value_error(text: bytes) -> None:
    try:
        document = parsed(text)
    except ValueError:
        return
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


@fuzz(
    st.text()
    | st.lists(
        st.sampled_from(["Internal: ", "is at UNAVAILABLE state: ", "\n\nAt:\n", "x" * 70_000, "\x1b", " ;"])
    ).map("".join)
)
def test_an_error_text_is_one_line_with_an_end(text: str) -> None:
    assert len(plain(text)) <= MOST_SHOWN and (plain(text).isprintable())


def test_the_samples_are_what_triton_says() -> None:
    for shape, sample in (
        (answer_shapes.MODEL_CONFIG, 1),
        (answer_shapes.INDEX, 2),
        (answer_shapes.METADATA, 3),
    ):
        assert answer_shapes.read(shape, SAMPLES[sample], "it")  # type: ignore[type-var]
    with pytest.raises(ServerError):
        answer_shapes.read(answer_shapes.MODEL_CONFIG, SAMPLES[2], "it")
