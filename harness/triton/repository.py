"""Entries of Triton's model repository: `<name>/config.pbtxt` and `<name>/1/model.onnx`.

The text is Triton's ModelConfig in protobuf's text format, valid for NVIDIA's C++ `onnxruntime` backend as
it is (Triton user guide, "Model Configuration"; `model_config.proto` names the fields). Of a GPU's settings:

- `provider: tensorrt` is the C++ backend's execution accelerator; CUDA is its default and needs no word.
- `cuda_graph` is Triton's `optimization { cuda { graphs: true } }`. The C++ `onnxruntime` backend has no
  CUDA graphs and doesn't read it: its results stay right, but nothing is captured (its issue 168).
- `FORCE_CPU_ONLY_INPUT_TENSORS: no` lets the Python backend under harness's own leave a tensor that comes in
  GPU memory there (python_backend's README). The C++ backend doesn't read it; it does so anyway.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.atomic import replacing_path
from harness.schema.errors import HarnessError, InputError
from harness.schema.model import Model, ModelArtifact
from harness.schema.point import ServerSettings, check_provider
from harness.schema.tensors import TensorSpec

VERSION = 1
CONFIG = "config.pbtxt"

_ENUMS = {"kind", "data_type"}
_MAPS = {"parameters"}


def write_model(repository: Path, artifact: ModelArtifact, settings: ServerSettings, *, gpu: bool) -> str:
    """Write the entry of `artifact` under `repository` and return its name there.

    `gpu` says what `kind: auto` means: whether a CUDA device is usable. The model is a hard link to the
    cache where the file systems allow it, else a copy. Each file is replaced atomically.

    Raises InputError for a model that Triton can't describe or settings that don't go together, HarnessError
    when a file can't be written.
    """
    config = model_config(artifact, settings, gpu=gpu)
    entry = repository / artifact.name
    for folder in (entry, entry / str(VERSION)):
        if folder.is_symlink():
            raise InputError(f"{folder} is a link, and harness would write where it leads: remove it")
    try:
        (entry / str(VERSION)).mkdir(parents=True, exist_ok=True)
        _place(artifact.path, entry / str(VERSION) / "model.onnx")
        weights = artifact.path.with_name(artifact.path.name + ".data")
        if (
            weights.is_file()
        ):  # a model above 2 GB keeps its weights beside it, under the name it was saved with
            _place(weights, entry / str(VERSION) / weights.name)
        with replacing_path(entry / CONFIG) as scratch:
            scratch.write_text(text_format(config), encoding="utf-8")
    except OSError as error:
        raise HarnessError(
            f"the model repository entry {entry} can't be written ({error.strerror}: {error.filename}): "
            "free the disk, give --repository a folder that you can write, or export the model again if its "
            "file is gone"
        ) from error
    return artifact.name


def model_config(artifact: ModelArtifact, settings: ServerSettings, *, gpu: bool) -> dict[str, Any]:
    """Triton's ModelConfig for this model and these settings, in protobuf's JSON form.

    Raises InputError as `write_model` does.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", artifact.name):
        raise InputError(
            f"{artifact.name!r} can't be a model's name in Triton: "
            "give it 1 to 64 letters, digits, dots, dashes and underscores"
        )
    max_batch, delay_us, instances = settings.max_batch, settings.queue_delay_us, settings.instances
    assert max_batch is not None and delay_us is not None and instances is not None, "ours keeps nothing"
    on_gpu = settings.kind == "gpu" or (settings.kind == "auto" and gpu)
    config: dict[str, Any] = {
        "name": artifact.name,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [VERSION]}},
        "max_batch_size": max_batch if artifact.batching else 0,
        "input": [_tensor(t, batching=artifact.batching) for t in artifact.inputs],
        "output": [_tensor(t, batching=artifact.batching) for t in artifact.outputs],
        "instance_group": [_instances(settings, on_gpu)],
    }
    if max_batch > 1 and artifact.batching:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": delay_us}
        if settings.preferred_batch:
            config["dynamic_batching"]["preferred_batch_size"] = [settings.preferred_batch]
    config["parameters"] = {
        "intra_op_thread_count": {"string_value": str(settings.threads)},
        "inter_op_thread_count": {"string_value": "1"},
    }
    if on_gpu:
        config["parameters"]["FORCE_CPU_ONLY_INPUT_TENSORS"] = {"string_value": "no"}
        if how := optimization(artifact, settings, max_batch):
            config["optimization"] = how
    if settings.response_cache:
        config["response_cache"] = {"enable": True}
    return config


def _instances(settings: ServerSettings, on_gpu: bool) -> dict[str, Any]:
    group: dict[str, Any] = {"count": settings.instances, "kind": "KIND_GPU" if on_gpu else "KIND_CPU"}
    if not on_gpu:
        for name, value in (
            ("gpus", settings.gpus),
            ("provider", settings.provider),
            ("cuda_graph", settings.cuda_graph),
        ):
            if value:
                why = "is cpu" if settings.kind == "cpu" else "is auto, and no GPU was found that can be used"
                raise InputError(
                    f"server.{name} is for a model on a GPU, and server.kind {why}: "
                    f"leave {name} out, or give kind: gpu"
                )
    elif settings.gpus is not None:
        group["gpus"] = list(settings.gpus)
    return group


def optimization(artifact: Model, settings: ServerSettings, max_batch: int) -> dict[str, Any]:
    """The part of a ModelConfig that says how a model computes on a GPU; empty where nothing is said."""
    if settings.provider != "tensorrt":
        return {"cuda": {"graphs": True}} if settings.cuda_graph else {}
    check_provider(settings)
    # The C++ backend and ours keep TensorRT to FP32 unless told, whatever the model's own types.
    parameters = {"precision_mode": "FP16" if artifact.dtype == "fp16" else "FP32"}
    if profile := _profile(artifact, max_batch):
        parameters |= profile
    accelerator = {"name": "tensorrt", "parameters": parameters}
    return {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}


def _profile(artifact: Model, max_batch: int) -> dict[str, str]:
    """The range of shapes to build TensorRT's engine for, where the batch is all that varies.

    What other axes (tokens, height, width) will be isn't known here: nothing is said of them, and ONNX
    Runtime builds the engine from the shapes that it gets, anew for one outside of those it had.
    """
    if not artifact.batching:
        return {}
    if any(-1 in tensor.dims or set(tensor.name) & set(":,") for tensor in artifact.inputs):
        return {}

    def shapes(batch: int) -> str:
        return ",".join(
            f"{tensor.name}:{'x'.join(str(size) for size in (batch, *tensor.dims))}"
            for tensor in artifact.inputs
        )

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(max_batch),
        "trt_profile_max_shapes": shapes(max_batch),
    }


def text_format(message: dict[str, Any]) -> str:
    """A ModelConfig in JSON form as config.pbtxt."""
    return "".join(line + "\n" for line in _fields(message, ""))


def _tensor(tensor: TensorSpec, *, batching: bool) -> dict[str, Any]:
    described = {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}"}
    if dims := tensor.dims if batching else tensor.shape:
        return {**described, "dims": list(dims)}
    # Of shape [batch]: Triton wants an axis, and takes it away again by a reshape.
    return {**described, "dims": [1], "reshape": {"shape": []}}


def _fields(message: dict[str, Any], indent: str) -> Iterator[str]:
    for name, value in message.items():
        if name in _MAPS:
            for key, entry in value.items():
                yield from _field(name, {"key": key, "value": entry}, indent)
        elif isinstance(value, list) and not any(isinstance(v, dict) for v in value):
            yield f"{indent}{name}: [{', '.join(_scalar(name, v) for v in value)}]"
        else:
            for one in value if isinstance(value, list) else [value]:
                yield from _field(name, one, indent)


def _field(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield f"{indent}{name} {{"
        yield from _fields(value, indent + "  ")
        yield f"{indent}}}"
    else:
        yield f"{indent}{name}: {_scalar(name, value)}"


def _scalar(name: str, value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or name in _ENUMS:
        return str(value)
    return '"' + "".join(_escaped(byte) for byte in value.encode()) + '"'


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    return character if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def _place(source: Path, target: Path) -> None:
    """Make `target` the file `source`, in one step for whoever reads it."""
    with replacing_path(target) as scratch:
        try:
            scratch.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, scratch)
