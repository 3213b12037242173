"""Read an ONNX file's inputs, and write one with clean axis names. Imports onnx: only for heavy commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

from harness.cache import file_sha256
from harness.model.external_data import data_file, data_files, load_data
from harness.model.onnx_axes import named, why_alone
from harness.model.onnx_description import DescribedInput, Description, beside, description
from harness.model.onnx_hash import DATA
from harness.model.own_files import has, own_file
from harness.model.signature import Axis, Input, Place, Signature
from harness.plain_text import shown
from harness.schema.errors import InputError
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

MOST_TAKEN_IN = 256 * 2**20
"""Bytes of weights beside a file that become a part of it; more of them are copied beside ours, which takes
no memory."""
MOST_WITHIN = 3 * 2**29
"""Bytes of weights within one file. Protobuf's own limit is 2 GiB."""

_PAGE = 4096
"""Where each tensor's data begins, so that it can be mapped (onnx.proto, TensorProto.external_data)."""
_PIECE = 8 * 2**20
_LEAST_BESIDE = 1024
"""Bytes of a tensor that is worth a place in the second file."""


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
    """Inputs as the file and the description beside it declare them, with usable names for the axes.

    A single number is sent as one in a list: Triton has no tensors without axes. Raises InputError where
    Triton has no such type, where a shape isn't declared, or where the description doesn't fit.
    """
    said, graph = description(path), read(path, weights=False).graph
    constants = {i.name for i in graph.initializer}
    values = [value for value in graph.input if value.name not in constants]
    if not values:
        raise InputError(f"{path} takes no input: there is nothing to send; check the export")
    declared = {
        value.name: _declared(path, value, said.inputs.get(value.name, DescribedInput())) for value in values
    }
    described = {name: of.axes for name, of in said.inputs.items() if of.axes is not None}
    _check_described(path, said, declared)
    alone = why_alone(declared | described)
    if not said.batch:
        alone = f"{beside(path)} says `batch: false`"
    axes, dividing = named(declared) | described, _dividing(graph)
    inputs = []
    for value in values:
        of = said.inputs.get(value.name, DescribedInput())
        low, high = of.range if of.range[0] is not None else _usual_range(value.name)
        kind, divides = datatype(path, value), value.name in dividing
        inputs.append(Input(value.name, kind, axes[value.name] or (1,), low, high, divides))
    folders = (folder / "tokenizer.json" for folder in (path.parent, path.parent.parent))
    takes_text = any(i.name == "input_ids" for i in inputs)
    tokenizer = next((Place(file) for file in folders if takes_text and file.is_file()), None)
    limits = tuple(Axis(name, each.least, each.most, each.multiple_of) for name, each in said.axes.items())
    made = Signature(tuple(inputs), limits, tokenizer=tokenizer, alone=alone)
    for name in said.axes:
        if name not in made.dynamic:
            known = ", ".join(made.dynamic) or "none"
            raise InputError(
                f"{beside(path)}: no input has the axis {name!r} (there are {known}): correct its name"
            )
    return made


def prepared(path: Path) -> Any:
    """The file's ModelProto without the outputs that the description leaves out, and with lists of one
    element in place of single numbers. Weights beside the file are taken in, up to MOST_TAKEN_IN of them.
    Raises InputError."""
    said, model = description(path), read(path, weights=False)
    if sum(file.stat().st_size for file in data_files(model, path)) <= MOST_TAKEN_IN:
        model = read(path, weights=True)
    outputs = {output.name: output for output in model.graph.output}
    for name in said.outputs.leave_out:
        if name not in outputs:
            raise InputError(
                f"{beside(path)}: there is no output {name!r} to leave out (there are "
                f"{', '.join(outputs)}): correct its name"
            )
        model.graph.output.remove(outputs.pop(name))
    if not outputs:
        raise InputError(f"{beside(path)} leaves out all outputs, and nothing is computed: keep one")
    if said.outputs.leave_out:
        _prune(model.graph)
    for name, output in outputs.items():
        try:
            datatype(path, output)
        except InputError as error:
            raise InputError(
                f"{error}, or leave it out: `outputs: {{leave_out: [{name}]}}` in {beside(path)}"
            ) from None
    constants = {i.name for i in model.graph.initializer}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name not in constants and tensor.HasField("shape") and not tensor.shape.dim:
            _take_a_list(model.graph, value)
    return model


def content(path: Path) -> tuple[str, ...]:
    """SHA-256 of the file, of its description, and of the files that hold its weights, those of its branches
    and constants too.

    Raises InputError where one of them isn't beside it.
    """
    data = data_files(read(path, weights=False), path)
    said = [own_file(path.parent, beside(path))] if has(path.parent, beside(path)) else []
    return tuple(file_sha256(file) for file in [path, *data, *said])


def write(
    model: Any,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    path: Path,
    weights_in: Path | None = None,
) -> None:
    """Save with the axes named as `inputs` and `outputs` say, and without debugging data.

    In one file, where it has room for the weights; else they go into a second one beside it. `weights_in`:
    the file that `model` was read from, beside which the others are; None where there are none, or they were
    written before.
    """
    for values, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        by_name = {spec.name: spec for spec in specs}
        for value in values:
            if value.name in by_name:
                _set_axes(value, by_name[value.name].axes)
    graph = model.graph
    for part in [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del part.metadata_props[:]  # the exporter's: stack traces with paths of this machine
    _move_weights(model, path.with_name(path.name + DATA), weights_in)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _move_weights(model: Any, data: Path, weights_in: Path | None) -> None:
    """Into the file `data`, where they are in others now, or too many for one file."""
    every = list(_get_all_tensors(model))
    elsewhere = [t for t in every if uses_external_data(t)] if weights_in is not None else []
    within = sum(len(t.raw_data) for t in every)
    large = [t for t in every if within > MOST_WITHIN and len(t.raw_data) >= _LEAST_BESIDE]
    if not elsewhere and not large:
        return
    with data.open("ab") as target:
        for tensor in [*elsewhere, *large]:
            target.write(b"\0" * (-target.tell() % _PAGE))
            begin = target.tell()
            if uses_external_data(tensor):
                assert weights_in is not None
                _copy(tensor, weights_in, target)
            else:
                target.write(tensor.raw_data)
                tensor.ClearField("raw_data")
            length = target.tell() - begin
            del tensor.external_data[:]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", begin), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))


def _copy(tensor: Any, path: Path, target: BinaryIO) -> None:
    """The tensor's bytes of a file beside `path`, a piece at a time."""
    info = ExternalDataInfo(tensor)
    with data_file(path, info.location).open("rb") as source:
        begin, size = info.offset or 0, source.seek(0, os.SEEK_END)
        left = size - begin if info.length is None else info.length
        if not 0 <= begin <= begin + left <= size:
            raise InputError(
                f"{path.parent / info.location} has {size} bytes, and the weights "
                f"{shown(tensor.name)[:80]!r} end at {begin + left}: copy it again, whole"
            )
        source.seek(begin)
        while left and (piece := source.read(min(left, _PIECE))):
            target.write(piece)
            left -= len(piece)


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


def _dividing(graph: Any) -> set[str]:
    """Names of all values that a divisor is made of; a tensor's shape is not made of its values."""
    taken = {
        output: list(node.input)
        for node in _nodes(graph)
        for output in node.output
        if node.op_type not in ("Shape", "Size")
    }
    waiting = [node.input[1] for node in _nodes(graph) if node.op_type in ("Div", "Mod")]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += taken.get(name, [])
    return found


def _draws(node: Any) -> bool:
    # A Dropout draws only in training mode, which is its third input.
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and len(node.input) > 2)


def _nodes(graph: Any) -> Iterator[Any]:
    """Every node, those of branches and loops too."""
    for node in graph.node:
        yield node
        yield from _within(node)


def _within(node: Any) -> Iterator[Any]:
    """Every node of its branches."""
    for attribute in node.attribute:
        for inner in [attribute.g, *attribute.graphs]:
            yield from _nodes(inner)


def _declared(path: Path, value: Any, described: DescribedInput) -> Sequence[int | str]:
    datatype(path, value)
    tensor = value.type.tensor_type
    if tensor.HasField("shape"):
        return [
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param
            for d in tensor.shape.dim
        ]
    if described.axes is None:
        raise InputError(
            f"{path}: input {value.name!r} has no declared shape: export it with one, or name its axes in "
            f"{beside(path)} (`inputs: {{{value.name}: {{axes: [batch, n]}}}}`)"
        )
    return described.axes


def _prune(graph: Any) -> None:
    """Leave only what the outputs are made of."""
    makers = {output: node for node in graph.node for output in node.output}
    waiting, needed = [output.name for output in graph.output], set()
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            if (node := makers.get(name)) is not None:
                waiting += [*node.input, *(taken for inner in _within(node) for taken in inner.input)]
    for parts, kept in (
        (graph.node, [node for node in graph.node if needed.intersection(node.output)]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed]),
    ):
        del parts[:]
        parts.extend(kept)


def _check_described(path: Path, said: Description, declared: Mapping[str, Sequence[int | str]]) -> None:
    for name, of in said.inputs.items():
        if name not in declared:
            raise InputError(
                f"{beside(path)}: there is no input {name!r} (there are {', '.join(declared)}): correct "
                "its name"
            )
        if of.axes is not None and len(of.axes) != len(declared[name]):
            raise InputError(
                f"{beside(path)}: input {name!r} has {len(declared[name])} axes, and {len(of.axes)} are "
                "named: name each, by a word, a size or an expression"
            )


def _usual_range(name: str) -> tuple[float | None, float | None]:
    return {"attention_mask": (1, 2), "token_type_ids": (0, 1)}.get(name, (None, None))


def _take_a_list(graph: Any, value: Any) -> None:
    """Let an input that is a single number be a list of one element."""
    inner = f"{value.name}, a single number"
    for node in _nodes(graph):
        node.input[:] = [inner if name == value.name else name for name in node.input]
    graph.node.insert(0, helper.make_node("Reshape", [value.name, _shape(graph, ())], [inner]))
    _set_axes(value, (1,))


def give_a_list(model: Any, name: str) -> None:
    """Let an output that is a single number be a list of one element."""
    inner = f"{name}, a single number"
    graph = model.graph
    for node in _nodes(graph):
        node.input[:] = [inner if each == name else each for each in node.input]
        node.output[:] = [inner if each == name else each for each in node.output]
    for constant in graph.initializer:
        constant.name = inner if constant.name == name else constant.name
    graph.node.append(helper.make_node("Reshape", [inner, _shape(graph, (1,))], [name]))


def _shape(graph: Any, shape: tuple[int, ...]) -> str:
    """Name of a constant that is this shape."""
    name = f"the shape {list(shape)}"
    if all(constant.name != name for constant in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    return name


def _set_axes(value: Any, axes: tuple[int | str, ...]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for axis in axes:
        dim = shape.dim.add()
        if isinstance(axis, int):
            dim.dim_value = axis
        else:
            dim.dim_param = axis
