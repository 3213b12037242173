"""Tiny ONNX models, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.cache import file_sha256
from harness.schema.model import ModelArtifact, Parity
from harness.schema.point import ServerSettings
from harness.schema.tensors import TensorSpec


def settings(**changed: Any) -> ServerSettings:
    plain = {
        "max_batch": 8,
        "queue_delay_us": 0,
        "instances": 1,
        "threads": 1,
        "kind": "cpu",
        "response_cache": False,
    }
    return ServerSettings(**{**plain, **changed})


def double(folder: Path) -> ModelArtifact:
    """y = x + x over [batch, n], and rows = the sum of each row, [batch]."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Add", ["x", "x"], ["y"]),
        helper.make_node("ReduceSum", ["x", "last"], ["rows"], keepdims=0),
    ]
    last = helper.make_tensor("last", TensorProto.INT64, [1], [1])
    value = helper.make_tensor_value_info
    x = value("x", TensorProto.FLOAT, ["batch", "n"])
    outputs = [value("y", TensorProto.FLOAT, ["batch", "n"]), value("rows", TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "double", [x], outputs, [last])
    return _artifact(
        folder,
        "double",
        graph,
        [("x", "FP32", ("batch", "n"))],
        [("y", "FP32", ("batch", "n")), ("rows", "FP32", ("batch",))],
    )


def slow(folder: Path) -> ModelArtifact:
    """Some 30 ms for each run, whatever the batch: a chain of products of constants too big to fold."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    size, steps = 1024, 6
    weights = np.full((size, size), 1 / size, np.float32)
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1], keepdims=1)]
    nodes += [helper.make_node("Add", ["w", "m"], ["p0"])]
    nodes += [helper.make_node("MatMul", [f"p{i}", "w"], [f"p{i + 1}"]) for i in range(steps)]
    nodes += [helper.make_node("ReduceMean", [f"p{steps}"], ["s"], axes=[0, 1], keepdims=1)]
    nodes += [helper.make_node("Add", ["x", "s"], ["z"]), helper.make_node("Sub", ["z", "s"], ["y"])]
    value = helper.make_tensor_value_info
    x, y = (value(name, TensorProto.FLOAT, ["batch", "n"]) for name in "xy")
    graph = helper.make_graph(nodes, "slow", [x], [y], [numpy_helper.from_array(weights, "w")])
    return _artifact(folder, "slow", graph, [("x", "FP32", ("batch", "n"))], [("y", "FP32", ("batch", "n"))])


def every_type(folder: Path) -> ModelArtifact:
    """One input x<TYPE> and one equal output y<TYPE> for each type that harness serves."""
    from onnx import TensorProto, helper

    types = {
        "BOOL": TensorProto.BOOL,
        "UINT8": TensorProto.UINT8,
        "UINT16": TensorProto.UINT16,
        "UINT32": TensorProto.UINT32,
        "UINT64": TensorProto.UINT64,
        "INT8": TensorProto.INT8,
        "INT16": TensorProto.INT16,
        "INT32": TensorProto.INT32,
        "INT64": TensorProto.INT64,
        "FP16": TensorProto.FLOAT16,
        "FP32": TensorProto.FLOAT,
        "FP64": TensorProto.DOUBLE,
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"x{name}"], [f"y{name}"]) for name in types],
        "every_type",
        [value(f"x{name}", t, ["batch", "n"]) for name, t in types.items()],
        [value(f"y{name}", t, ["batch", "n"]) for name, t in types.items()],
    )
    return _artifact(
        folder,
        "every_type",
        graph,
        [(f"x{name}", name, ("batch", "n")) for name in types],
        [(f"y{name}", name, ("batch", "n")) for name in types],
    )


def reshaper(folder: Path) -> ModelArtifact:
    """y = x with the given number of columns: fails to run where the elements don't divide evenly."""
    from onnx import TensorProto, helper

    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "reshaper",
        [value("x", TensorProto.FLOAT, ["batch", "n"])],
        [value("y", TensorProto.FLOAT, ["rows", 4])],
        [shape],
    )
    return _artifact(
        folder, "reshaper", graph, [("x", "FP32", ("batch", "n"))], [("y", "FP32", ("batch", 4))]
    )


def _artifact(folder: Path, name: str, graph: Any, inputs: list[Any], outputs: list[Any]) -> ModelArtifact:
    import onnx
    from onnx import helper

    path = folder / f"{name}.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return ModelArtifact(
        name=name,
        kind="onnx",
        source="made by the tests",
        onnx_path=str(path),
        sha256=file_sha256(path),
        inputs=tuple(TensorSpec(name=n, datatype=d, axes=a) for n, d, a in inputs),
        outputs=tuple(TensorSpec(name=n, datatype=d, axes=a) for n, d, a in outputs),
        parity=Parity(reference="none: the file is the source", tolerance=0.0, cases=()),
    )
