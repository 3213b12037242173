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


def double_of_a_batch(folder: Path) -> ModelArtifact:
    """As `double` says, but for an error that grows with the batch: 0.1 a row beside it."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", ["x"], ["size"], end=1),
        helper.make_node("Cast", ["size"], ["batch"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["batch", "tenth"], ["error"]),
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("Add", ["twice", "error"], ["y"]),
        helper.make_node("ReduceSum", ["x", "last"], ["rows"], keepdims=0),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        helper.make_tensor("tenth", TensorProto.FLOAT, [1], [0.1]),
    ]
    value = helper.make_tensor_value_info
    x = value("x", TensorProto.FLOAT, ["batch", "n"])
    outputs = [value("y", TensorProto.FLOAT, ["batch", "n"]), value("rows", TensorProto.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "double", [x], outputs, constants)
    return _artifact(
        folder,
        "double",
        graph,
        [("x", "FP32", ("batch", "n"))],
        [("y", "FP32", ("batch", "n")), ("rows", "FP32", ("batch",))],
    )


def half_in_batches(folder: Path) -> ModelArtifact:
    """As `double` says, in FP16 where the batch is of two or more, and in FP32 where it is of one."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Shape", ["x"], ["size"], end=1),
        helper.make_node("Greater", ["size", "one"], ["many"]),
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["rounded"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["many", "rounded", "x"], ["taken"]),
        helper.make_node("Add", ["taken", "taken"], ["y"]),
        helper.make_node("ReduceSum", ["taken", "one"], ["rows"], keepdims=0),
    ]
    value = helper.make_tensor_value_info
    x = value("x", TensorProto.FLOAT, ["batch", "n"])
    outputs = [value("y", TensorProto.FLOAT, ["batch", "n"]), value("rows", TensorProto.FLOAT, ["batch"])]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    return _artifact(
        folder,
        "double",
        helper.make_graph(nodes, "double", [x], outputs, [one]),
        [("x", "FP32", ("batch", "n"))],
        [("y", "FP32", ("batch", "n")), ("rows", "FP32", ("batch",))],
    )


def slow(folder: Path, steps: int = 6, name: str = "slow") -> ModelArtifact:
    """Some 5 to 30 ms a step for each run, whatever the batch: products of constants too big to fold."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    size = 1024
    weights = np.full((size, size), 1 / size, np.float32)
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[0, 1], keepdims=1)]
    nodes += [helper.make_node("Add", ["w", "m"], ["p0"])]
    nodes += [helper.make_node("MatMul", [f"p{i}", "w"], [f"p{i + 1}"]) for i in range(steps)]
    nodes += [helper.make_node("ReduceMean", [f"p{steps}"], ["s"], axes=[0, 1], keepdims=1)]
    nodes += [helper.make_node("Add", ["x", "s"], ["z"]), helper.make_node("Sub", ["z", "s"], ["y"])]
    value = helper.make_tensor_value_info
    x, y = (value(name, TensorProto.FLOAT, ["batch", "n"]) for name in "xy")
    graph = helper.make_graph(nodes, name, [x], [y], [numpy_helper.from_array(weights, "w")])
    return _artifact(folder, name, graph, [("x", "FP32", ("batch", "n"))], [("y", "FP32", ("batch", "n"))])


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


def flat(folder: Path) -> ModelArtifact:
    """y = x of [batch, n, 2] with the axes after the batch made one, by way of its own shape."""
    from onnx import TensorProto, helper

    zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    rest = helper.make_tensor("rest", TensorProto.INT64, [1], [-1])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["s"], name="shape"),
            helper.make_node("Gather", ["s", "zero"], ["rows"], name="rows of it"),
            helper.make_node("Concat", ["rows", "rest"], ["flat"], name="new shape", axis=0),
            helper.make_node("Reshape", ["x", "flat"], ["y"], name="reshape"),
        ],
        "flat",
        [value("x", TensorProto.FLOAT, ["batch", "n", 2])],
        [value("y", TensorProto.FLOAT, ["batch", "m"])],
        [zero, rest],
    )
    return _artifact(
        folder, "flat", graph, [("x", "FP32", ("batch", "n", 2))], [("y", "FP32", ("batch", "m"))]
    )


def product(folder: Path) -> ModelArtifact:
    """y = relu(x @ w) + 1 over [batch, 4]: what a GPU is for."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["p"], name="matmul"),
            helper.make_node("Relu", ["p"], ["r"], name="relu"),
            helper.make_node("Add", ["r", "one"], ["y"], name="add"),
        ],
        "product",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), "w"),
            numpy_helper.from_array(np.ones(1, np.float32), "one"),
        ],
    )
    return _artifact(folder, "product", graph, [("x", "FP32", ("batch", 4))], [("y", "FP32", ("batch", 4))])


def determinants(folder: Path) -> ModelArtifact:
    """y = the determinant of each of relu(x), x of [batch, 3, 3]: ONNX Runtime has it on the CPU alone."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["r"], name="relu"),
            helper.make_node("Det", ["r"], ["y"], name="determinant"),
        ],
        "determinants",
        [value("x", TensorProto.FLOAT, ["batch", 3, 3])],
        [value("y", TensorProto.FLOAT, ["batch"])],
    )
    return _artifact(
        folder, "determinants", graph, [("x", "FP32", ("batch", 3, 3))], [("y", "FP32", ("batch",))]
    )


def ends(folder: Path) -> ModelArtifact:
    """Y = the first and the last of each row of X, [batch, n]: it costs what it costs to bring X there."""
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["X", "both"], ["Y"], name="gather", axis=1)],
        "ends",
        [value("X", TensorProto.FLOAT, ["batch", "n"])],
        [value("Y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("both", TensorProto.INT64, [2], [0, -1])],
    )
    return _artifact(folder, "ends", graph, [("X", "FP32", ("batch", "n"))], [("Y", "FP32", ("batch", 2))])


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
