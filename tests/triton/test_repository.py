from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format as protobuf_text
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from harness.schema.errors import HarnessError, InputError
from harness.schema.model import ModelArtifact, Parity
from harness.schema.tensors import NUMPY, TensorSpec
from harness.triton.repository import model_config, text_format, write_model
from tests.triton.models import settings

PARITY = Parity(reference="none: the file is the source", tolerance=0.0, cases=())

axes = st.lists(st.integers(1, 2**40) | st.sampled_from(["n", "width"]), min_size=1, max_size=5)
tensors = st.builds(
    lambda name, datatype, inner: TensorSpec(name=name, datatype=datatype, axes=("batch", *inner)),
    # A surrogate is no text, and protobuf's strings end at no other character.
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.sampled_from(sorted(NUMPY)),
    axes,
)


def artifact(
    name: str, inputs: list[TensorSpec], outputs: list[TensorSpec], path: str = "/nowhere.onnx"
) -> ModelArtifact:
    return ModelArtifact(
        name=name,
        kind="onnx",
        source="made by the tests",
        onnx_path=path,
        sha256="0" * 64,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        parity=PARITY,
    )


def parsed(text: str) -> model_config_pb2.ModelConfig:
    return protobuf_text.Parse(text, model_config_pb2.ModelConfig())


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    inputs=st.lists(tensors, min_size=1, max_size=3),
    outputs=st.lists(tensors, min_size=1, max_size=3),
    max_batch=st.integers(1, 4096),
    delay=st.integers(0, 10_000_000),
    instances=st.integers(1, 64),
    threads=st.integers(1, 1024),
    kind=st.sampled_from(["auto", "cpu", "gpu"]),
    gpu=st.booleans(),
    gpus=st.none() | st.lists(st.integers(0, 255), min_size=1, max_size=4).map(tuple),
    provider=st.sampled_from([None, "cuda", "tensorrt"]),
    graph=st.sampled_from([None, False, True]),
    dtype=st.sampled_from([None, "fp32", "fp16"]),
    cache=st.booleans(),
)
def test_the_written_text_says_to_protobuf_what_was_asked(
    name: str,
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    max_batch: int,
    delay: int,
    instances: int,
    threads: int,
    kind: str,
    gpu: bool,
    gpus: tuple[int, ...] | None,
    provider: str | None,
    graph: bool | None,
    dtype: Any,
    cache: bool,
) -> None:
    on_gpu = {"cpu": False, "gpu": True, "auto": gpu}[kind]
    if not on_gpu:
        gpus = provider = graph = None
    graph = graph and provider != "tensorrt"
    wanted = settings(
        gpus=gpus,
        provider=provider,
        cuda_graph=graph,
        max_batch=max_batch,
        queue_delay_us=delay,
        instances=instances,
        threads=threads,
        kind=kind,
        response_cache=cache,
    )
    model = artifact(name, inputs, outputs).model_copy(update={"dtype": dtype})
    config = parsed(text_format(model_config(model, wanted, gpu=gpu)))
    assert config.name == name
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == max_batch
    assert config.HasField("dynamic_batching") == (max_batch > 1)
    if max_batch > 1:
        assert config.dynamic_batching.max_queue_delay_microseconds == delay
    for spec, tensor in [*zip(inputs, config.input, strict=True), *zip(outputs, config.output, strict=True)]:
        assert tensor.name == spec.name
        assert model_config_pb2.DataType.Name(tensor.data_type) == f"TYPE_{spec.datatype}"
        assert tuple(tensor.dims) == spec.dims
    (group,) = config.instance_group
    assert group.count == instances
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == ("KIND_GPU" if on_gpu else "KIND_CPU")
    assert tuple(group.gpus) == (gpus or ())
    assert config.optimization.cuda.graphs == bool(graph)
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [a.name for a in accelerators] == (["tensorrt"] if provider == "tensorrt" else [])
    for accelerator in accelerators:
        assert accelerator.parameters["precision_mode"] == ("FP16" if dtype == "fp16" else "FP32")
    device_inputs = config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value
    assert device_inputs == ("no" if on_gpu else "")
    assert config.parameters["intra_op_thread_count"].string_value == str(threads)
    assert config.response_cache.enable == cache


def test_a_tensor_with_only_a_batch_axis_is_described_by_a_reshape() -> None:
    x = TensorSpec(name="x", datatype="FP32", axes=("batch",))
    label = TensorSpec(name="label", datatype="INT64", axes=("batch",))
    config = parsed(text_format(model_config(artifact("m", [x], [label]), settings(), gpu=False)))
    for tensor in (*config.input, *config.output):
        assert list(tensor.dims) == [1]
        assert tensor.HasField("reshape")
        assert list(tensor.reshape.shape) == []


def test_a_model_without_a_batch_is_described_with_all_its_axes() -> None:
    x = TensorSpec(name="x", datatype="FP32", axes=(1, 3, "height", "2*height"))
    y = TensorSpec(name="y", datatype="FP32", axes=("found", 4))
    model = artifact("m", [x], [y]).model_copy(update={"alone": "it has no batch"})
    config = parsed(text_format(model_config(model, settings(max_batch=8, queue_delay_us=9), gpu=False)))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 3, -1, -1]
    assert list(config.output[0].dims) == [-1, 4]
    fixed = artifact("m", [X], []).model_copy(update={"alone": "it has no batch"})
    tensorrt = model_config(fixed, settings(kind="gpu", provider="tensorrt"), gpu=True)
    (accelerator,) = tensorrt["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert [*accelerator["parameters"]] == ["precision_mode"]


X = TensorSpec(name="x", datatype="FP32", axes=("batch", 3, 4))
MASK = TensorSpec(name="mask", datatype="BOOL", axes=("batch", 7))


def profile(inputs: list[TensorSpec], max_batch: int) -> dict[str, str]:
    wanted = settings(kind="gpu", provider="tensorrt", max_batch=max_batch)
    config = parsed(text_format(model_config(artifact("m", inputs, []), wanted, gpu=True)))
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    return {name: value for name, value in accelerator.parameters.items() if "profile" in name}


def test_tensorrt_is_told_the_range_of_batches_where_nothing_else_varies() -> None:
    assert profile([X, MASK], 16) == {
        "trt_profile_min_shapes": "x:1x3x4,mask:1x7",
        "trt_profile_opt_shapes": "x:16x3x4,mask:16x7",
        "trt_profile_max_shapes": "x:16x3x4,mask:16x7",
    }


@pytest.mark.parametrize("change", [{"axes": ("batch", "tokens")}, {"name": "mask:0"}, {"name": "a,b"}])
def test_tensorrt_is_told_no_range_that_is_not_known_or_cannot_be_said(change: dict[str, Any]) -> None:
    assert profile([X, MASK.model_copy(update=change)], 16) == {}


def test_a_preferred_batch_is_one_and_none_is_none() -> None:
    model = artifact("m", [TensorSpec(name="x", datatype="FP32", axes=("batch", 3))], [])

    def batching(preferred: int | None) -> dict[str, Any]:
        made = model_config(model, settings(max_batch=8, preferred_batch=preferred), gpu=False)
        return dict(made["dynamic_batching"])

    assert batching(4)["preferred_batch_size"] == [4]
    assert "preferred_batch_size" not in batching(None) and "preferred_batch_size" not in batching(0)


@pytest.mark.parametrize("setting", [{"gpus": (0,)}, {"provider": "cuda"}, {"cuda_graph": True}])
@pytest.mark.parametrize("kind", ["cpu", "auto"])
def test_settings_of_a_gpu_are_refused_on_the_cpu_by_their_name(setting: dict[str, Any], kind: str) -> None:
    (name,) = setting
    why = "is cpu" if kind == "cpu" else "no GPU was found"
    with pytest.raises(InputError, match=rf"server\.{name} .*{why}.*leave {name} out"):
        model_config(artifact("m", [X], []), settings(kind=kind, **setting), gpu=False)
    model_config(artifact("m", [X], []), settings(kind="auto", **setting), gpu=True)


def test_no_cuda_graph_is_what_a_cpu_has_anyway() -> None:
    assert "optimization" not in model_config(artifact("m", [X], []), settings(cuda_graph=False), gpu=False)


def test_cuda_graphs_with_tensorrt_are_refused() -> None:
    both = settings(kind="gpu", provider="tensorrt", cuda_graph=True)
    with pytest.raises(InputError, match="choose one of the two"):
        model_config(artifact("m", [X], []), both, gpu=True)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a b", "-dash", "x" * 65, 'q"', "$(touch x)"])
def test_name_that_could_leave_the_repository_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model's name"):
        write_model(tmp_path, artifact(name, [], []), settings(), gpu=False)
    assert not list(tmp_path.iterdir())


def test_entry_is_written_over_an_older_one_and_nothing_else_stays(tmp_path: Path) -> None:
    source = tmp_path / "cache.onnx"
    for content in (b"first", b"second", b"second"):
        source.unlink(missing_ok=True)
        source.write_bytes(content)
        write_model(tmp_path / "repository", artifact("m", [], [], path=str(source)), settings(), gpu=False)
    entry = tmp_path / "repository" / "m"
    write_model(
        tmp_path / "repository", artifact("m", [], [], path=str(source)), settings(max_batch=3), gpu=False
    )
    assert {str(path.relative_to(entry)) for path in entry.rglob("*")} == {
        "1",
        "1/model.onnx",
        "config.pbtxt",
    }
    assert (entry / "1" / "model.onnx").read_bytes() == b"second"
    assert parsed((entry / "config.pbtxt").read_text()).max_batch_size == 3


@pytest.mark.parametrize("linked", ["m", "m/1"])
def test_entry_that_leads_elsewhere_is_not_written_to(tmp_path: Path, linked: str) -> None:
    """The folder that one works in may have been sent."""
    source, link, theirs = tmp_path / "cache.onnx", tmp_path / "repository" / linked, tmp_path / "theirs"
    source.write_bytes(b"new")
    theirs.mkdir()
    (theirs / "model.onnx").write_bytes(b"kept")
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    with pytest.raises(InputError, match=rf"{linked} is a link"):
        write_model(tmp_path / "repository", artifact("m", [], [], path=str(source)), settings(), gpu=False)
    assert [path.name for path in theirs.iterdir()] == ["model.onnx"]
    assert (theirs / "model.onnx").read_bytes() == b"kept"


def test_weights_beside_the_model_come_along(tmp_path: Path) -> None:
    (tmp_path / "big.onnx").write_bytes(b"graph")
    (tmp_path / "big.onnx.data").write_bytes(b"weights")
    write_model(
        tmp_path / "repository",
        artifact("m", [], [], path=str(tmp_path / "big.onnx")),
        settings(),
        gpu=False,
    )
    assert (tmp_path / "repository/m/1/big.onnx.data").read_bytes() == b"weights"


def test_vanished_model_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="export the model again"):
        write_model(tmp_path, artifact("m", [], [], path=str(tmp_path / "gone.onnx")), settings(), gpu=False)
