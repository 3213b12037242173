"""An FP32 ONNX graph in FP16. Imports onnx: only for heavy commands.

The work is done by ONNX Runtime's own `onnxruntime.transformers.float16` (its documentation: "Create Float16
and Mixed Precision Models"). What it leaves in FP32, with casts around it, is its list of operators that have
no FP16 form; inputs and outputs keep their types, so that requests stay the same.
"""

from __future__ import annotations

import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from harness.model import onnx_file
from harness.schema.errors import InputError

_OTHERS = {TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16", TensorProto.DOUBLE: "FP64"}
_PASS_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose")
"""Operators that leave the values of their first input as they are."""


def other_precision(path: Path) -> str | None:
    """What the file's weights are, some of them at least, where they aren't all FP32; None where they are."""
    graph = onnx_file.read(path, weights=False).graph
    found = {tensor.data_type for tensor in graph.initializer}
    return next((name for kind, name in _OTHERS.items() if kind in found), None)


def converted(model: Any, name: str) -> Any:
    """The ModelProto `model` with its FP32 values in FP16; `model` itself is used up.

    Finite constants over 65504 become 65504, FP16's largest. Raises InputError for what can't be converted.
    """
    convert_float_to_float16 = _converter()
    try:
        made = convert_float_to_float16(model, keep_io_types=True)
    except Exception as error:  # shape inference and the converter raise many kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{name} can't be converted to FP16 ({said[0][:200]}): leave out `dtype: fp16`"
        ) from error
    if all(v.type.tensor_type.elem_type != TensorProto.FLOAT16 for v in made.graph.value_info):
        raise InputError(f"{name} has no FP32 values to convert to FP16: leave out `dtype: fp16`")
    _sort(made.graph)
    return made


def probabilities(model: Any) -> frozenset[str]:
    """The outputs that a sigmoid or a softmax makes, whose values are in 0 to 1 by that."""
    maker = {output: node for node in model.graph.node for output in node.output}
    found = set()
    for output in model.graph.output:
        node = maker.get(output.name)
        while node is not None and node.op_type in _PASS_ON:
            node = maker.get(node.input[0])
        if node is not None and node.op_type in ("Sigmoid", "HardSigmoid", "Softmax"):
            found.add(output.name)
    return frozenset(found)


def rounding(model: Any) -> Any:
    """`model` with two Identities after each node, for a proof; `model` itself is changed.

    ONNX Runtime has few FP16 operators on a CPU: it computes the others in FP32, and takes out the casts
    between two of them whatever its optimization level, so that neither rounding nor overflow would show.
    An Identity has an FP16 form; one alone is made FP32 too where its neighbours are, a second one keeps the
    value between them in FP16. Within a node sums stay in FP32, as they do on a GPU's tensor cores.
    """
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        outputs = list(node.output)
        node.output[:] = [f"{output}, exact" if output else "" for output in outputs]
        model.graph.node.append(node)
        for output in filter(None, outputs):
            model.graph.node.append(helper.make_node("Identity", [f"{output}, exact"], [f"{output}, half"]))
            model.graph.node.append(helper.make_node("Identity", [f"{output}, half"], [output]))
    return model


def _converter() -> Any:
    before = list(sys.path)
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    finally:
        sys.path[:] = before  # it adds a folder of its own, whose modules would hide a user's
    return convert_float_to_float16


def _sort(graph: Any) -> None:
    """Order the nodes as ONNX wants them, each after those it takes from: the new casts stand at the end."""
    maker = {output: place for place, node in enumerate(graph.node) for output in node.output if output}
    takes_from = {
        place: [maker[name] for name in _taken(node) if name in maker]
        for place, node in enumerate(graph.node)
    }
    nodes = [graph.node[place] for place in graphlib.TopologicalSorter(takes_from).static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def _taken(node: Any) -> Iterator[str]:
    """What a node takes, the values of the outer graph that its branches and loops use among them."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _taken(inner)
