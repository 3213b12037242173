"""A model that is slower by a share that is set: its own graph, and beside it as much more work.

    python -m tests.evidence.slowed model.onnx 0.1 slower.onnx

The work is a chain of matrix products that hangs on the model's last output and is added to it and taken away
again, so that nothing is folded and no answer is another one (but for rounding). How long a product takes is
measured beside the model, in turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WIDTH = 160
"""Of the matrices: one product is some hundredths of what a small model takes."""

ROUNDS = 60
MOST = 2_000


RARE = 60
"""A request whose first integer is less is one of the tail: of 1 to 1,000 one in seventeen."""


def slowed(model: onnx.ModelProto, products: int) -> onnx.ModelProto:
    """The model with so many products more for each run."""
    made, output, more = _opened(model)
    made.graph.node.extend([*_chain(products, more), *_closed(f"{more}_s", output, more)])
    return made


def slowed_tail(model: onnx.ModelProto, products: int) -> onnx.ModelProto:
    """The same, but only where the first integer of the first input is less than `RARE`."""
    made, output, more = _opened(model)
    scalar = [helper.make_tensor_value_info(f"{more}_s", TensorProto.FLOAT, [])]
    nothing = [helper.make_tensor_value_info(f"{more}_0", TensorProto.FLOAT, [])]
    work = helper.make_graph(_chain(products, more), "work", [], scalar)
    zero = helper.make_node("Mul", [f"{more}_m0", f"{more}_zero"], [f"{more}_0"])
    rest = helper.make_graph([zero], "rest", [], nothing)
    made.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([-1], np.int64), f"{more}_flat"),
            numpy_helper.from_array(np.array(0, np.int64), f"{more}_first"),
            numpy_helper.from_array(np.array(RARE, np.int64), f"{more}_rare"),
            numpy_helper.from_array(np.array(0, np.float32), f"{more}_zero"),
        ]
    )
    made.graph.node.extend(
        [
            helper.make_node("ReduceMean", [f"{more}_x"], [f"{more}_m0"], keepdims=0),
            helper.make_node("Reshape", [made.graph.input[0].name, f"{more}_flat"], [f"{more}_line"]),
            helper.make_node("Gather", [f"{more}_line", f"{more}_first"], [f"{more}_id"]),
            helper.make_node("Less", [f"{more}_id", f"{more}_rare"], [f"{more}_is"]),
            helper.make_node("If", [f"{more}_is"], [f"{more}_t"], then_branch=work, else_branch=rest),
            *_closed(f"{more}_t", output, more),
        ]
    )
    return made


def slower_by(model: onnx.ModelProto, share: float, inputs: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model that takes `share` longer for these inputs, on one thread here and now."""
    return slowed(model, products_of(model, share, inputs))


def products_of(model: onnx.ModelProto, share: float, inputs: dict[str, np.ndarray]) -> int:
    """How many products take that share of the model's time."""
    products = 8
    base = _session(model)
    for _ in range(4):  # each try is measured in turns with the model itself
        found = _ratio(base, _session(slowed(model, products)), inputs) - 1
        if found <= 0:
            products *= 4
            continue
        wanted = max(1, min(MOST, round(share / found * products)))
        if wanted == products:
            break
        products = wanted
    return products


def _opened(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str, str]:
    """A copy whose first output is called `more`_x; the name that it had, and `more`, with which no name
    begins."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    output = made.graph.output[0].name
    weights = np.full((WIDTH, WIDTH), 1 / WIDTH, np.float32)
    more = f"more{sum(each.name.endswith('_w') for each in made.graph.initializer)}"
    made.graph.initializer.append(numpy_helper.from_array(weights, f"{more}_w"))
    for node in made.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output:
                    names[place] = f"{more}_x"
    return made, output, more


def _chain(products: int, more: str) -> list[onnx.NodeProto]:
    """From `more`_x to the scalar `more`_s."""
    return [
        helper.make_node("ReduceMean", [f"{more}_x"], [f"{more}_m"], keepdims=0),
        helper.make_node("Add", [f"{more}_w", f"{more}_m"], [f"{more}_p0"]),
        *(
            helper.make_node("MatMul", [f"{more}_p{i}", f"{more}_w"], [f"{more}_p{i + 1}"])
            for i in range(products)
        ),
        helper.make_node("ReduceMean", [f"{more}_p{products}"], [f"{more}_s"], keepdims=0),
    ]


def _closed(scalar: str, output: str, more: str) -> list[onnx.NodeProto]:
    """From `more`_x to the output: the scalar is added and taken away."""
    return [
        helper.make_node("Add", [f"{more}_x", scalar], [f"{more}_z"]),
        helper.make_node("Sub", [f"{more}_z", scalar], [output]),
    ]


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _ratio(
    one: onnxruntime.InferenceSession, other: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]
) -> float:
    """How much longer the other one takes: the median over pairs."""
    ratios = []
    for number in range(ROUNDS):
        took = {}
        for session in (one, other) if number % 2 else (other, one):
            began = time.perf_counter()
            session.run(None, inputs)
            took[session] = time.perf_counter() - began
        ratios.append(took[other] / took[one])
    return median(ratios[5:])


def inputs_of(model: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Ones for every input; an axis that `sizes` doesn't name is 1."""
    kinds = {TensorProto.INT64: np.int64, TensorProto.INT32: np.int32, TensorProto.FLOAT: np.float32}
    found = {}
    for each in model.graph.input:
        kind = each.type.tensor_type
        shape = [dim.dim_value or sizes.get(dim.dim_param, 1) for dim in kind.shape.dim]
        found[each.name] = np.ones(shape, kinds[kind.elem_type])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", action="append", default=[], metavar="AXIS=SIZE")
    asked = parser.parse_args()
    sizes = {axis: int(size) for axis, _, size in (each.partition("=") for each in asked.size)}
    model = onnx.load(asked.model)
    onnx.save(slower_by(model, asked.share, inputs_of(model, sizes)), asked.out)


if __name__ == "__main__":
    main()
