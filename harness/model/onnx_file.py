"""Read an ONNX file's inputs, and write one with clean axis names. Imports onnx: only for heavy commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from harness.cache import file_sha256
from harness.model.external_data import data_files, load_data
from harness.model.signature import BATCH, Input, Place, Signature
from harness.schema.errors import HarnessError, InputError
from harness.schema.tensors import Datatype, TensorSpec

_DATATYPES: dict[int, Datatype] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
}

_RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)

_TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

PROTOBUF_LIMIT = 2**31 - 1


def read(path: Path, *, weights: bool) -> Any:
    """The file's ModelProto. Raises InputError when it isn't one."""
    try:
        model = onnx.load(str(path), load_external_data=False)
        if weights:
            load_data(model, path)
        return model
    except InputError:
        raise
    except Exception as error:  # protobuf, checker and OS errors have no common base
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path} can't be read as ONNX ({said[0][:200]}): export it again, with its data beside it"
        ) from error


def signature(path: Path) -> Signature:
    """Inputs as the file declares them, with usable names for the dynamic axes.

    The two last axes of an image are `height` and `width`, those of the usual text inputs `tokens`; others
    keep their name where a scenario could write it, else they become `<input>_axis<i>`. Raises InputError
    where the batch axis is missing or fixed, or where Triton has no such type.
    """
    graph = read(path, weights=False).graph
    constants = {i.name for i in graph.initializer}
    inputs = []
    named: dict[str, str] = {}
    for value in graph.input:
        if value.name in constants:
            continue
        declared = _declared(path, value)
        axes: list[int | str] = [_batch(path, value.name, declared)]
        for position, axis in enumerate(declared[1:], start=1):
            axes.append(axis if isinstance(axis, int) else _axis_name(value.name, declared, position, named))
        inputs.append(_input(value.name, datatype(path, value), tuple(axes)))
    if not inputs:
        raise InputError(f"{path} takes no input: there is nothing to send; check the export")
    beside = (folder / "tokenizer.json" for folder in (path.parent, path.parent.parent))
    takes_text = any(i.name == "input_ids" for i in inputs)
    tokenizer = next((Place(file) for file in beside if takes_text and file.is_file()), None)
    return Signature(tuple(inputs), tokenizer=tokenizer)


def content(path: Path) -> tuple[str, ...]:
    """SHA-256 of the file and of the files that hold its weights, those of its branches and constants too.

    Raises InputError where one of them isn't beside it.
    """
    data = data_files(read(path, weights=False), path)
    return tuple(file_sha256(file) for file in [path, *data])


def write(model: Any, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], path: Path) -> None:
    """Save as one file, with the axes named as `inputs` and `outputs` say, and without debugging data."""
    for values, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        by_name = {spec.name: spec for spec in specs}
        for value in values:
            if value.name in by_name:
                _set_axes(value, by_name[value.name].axes)
    graph = model.graph
    for part in [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del part.metadata_props[:]  # the exporter's: stack traces with paths of this machine
    if model.ByteSize() > PROTOBUF_LIMIT:
        raise HarnessError(
            f"the ONNX file would have {model.ByteSize() / 1e9:.1f} GB, and one file holds at most 2 GB: "
            "export a smaller or a half-precision model"
        )
    path.write_bytes(model.SerializeToString(deterministic=True))


def datatype(path: Path, value: Any) -> Datatype:
    element = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
    if element not in _DATATYPES:
        kind = onnx.TensorProto.DataType.Name(element) if element else "no tensor"
        raise InputError(
            f"{path}: {value.name!r} is {kind}, which harness can't send: export it with "
            f"one of {', '.join(sorted(_DATATYPES.values()))}"
        )
    return _DATATYPES[element]


def duplicated(model: Any) -> list[str]:
    """Names of outputs that more than one node makes, which no ONNX file may have."""
    made = [name for node in model.graph.node for name in node.output]
    return [o.name for o in model.graph.output if made.count(o.name) > 1]


def random_operators(model: Any) -> tuple[str, ...]:
    """Those of its operators that draw random numbers at each run, those of its branches too."""
    return tuple(sorted({node.op_type for node in _nodes(model.graph) if _draws(node)}))


def _draws(node: Any) -> bool:
    # A Dropout draws only in training mode, which is its third input.
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2)


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of branches and loops too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from _nodes(inner)


def _declared(path: Path, value: Any) -> list[int | str]:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        raise InputError(f"{path}: input {value.name!r} has no declared shape: export it with one")
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param for d in tensor.shape.dim
    ]


def _batch(path: Path, name: str, declared: list[int | str]) -> str:
    if not declared:
        raise InputError(
            f"{path}: input {name!r} is a single number, and needs a batch axis first: export it so"
        )
    if isinstance(declared[0], int):
        raise InputError(
            f"{path}: the first axis of input {name!r} is fixed to {declared[0]}, so requests "
            "can't be batched: export it with a dynamic first axis (torch.onnx.export: dynamic_shapes)"
        )
    return BATCH


def _axis_name(name: str, declared: list[int | str], position: int, named: dict[str, str]) -> str:
    """The name of a dynamic axis; the same declared symbol gets the same name in every input."""
    symbol = str(declared[position])
    usable = re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,40}", symbol) and symbol != BATCH
    if name in _TOKEN_INPUTS and len(declared) == 2:
        chosen = "tokens"
    elif len(declared) == 4 and isinstance(declared[1], int) and declared[1] <= 4 and position >= 2:
        chosen = ("height", "width")[position - 2]
    elif not usable:
        chosen = f"{re.sub(r'[^A-Za-z0-9_-]', '_', name).strip('_-') or 'input'}_axis{position}"
    else:
        chosen = symbol
    return named.setdefault(symbol, chosen) if symbol.strip("?-1") else chosen


def _input(name: str, kind: Datatype, axes: tuple[int | str, ...]) -> Input:
    if name == "attention_mask":
        return Input(name, kind, axes, 1, 2)
    if name == "token_type_ids":
        return Input(name, kind, axes, 0, 1)
    return Input(name, kind, axes)


def _set_axes(value: Any, axes: tuple[int | str, ...]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for axis in axes:
        dim = shape.dim.add()
        if isinstance(axis, int):
            dim.dim_value = axis
        else:
            dim.dim_param = axis
