"""Where ONNX Runtime put a model's nodes, and whether any of its computing fell back to the CPU.

ONNX Runtime keeps computations over shapes on the CPU on purpose: nodes that follow a `Shape` and consume no
tensor of the GPU (its `GetCpuPreferredNodes`). Everything else that stands on the CPU provider is a
fall-back, for want of a kernel. What ONNX Runtime tells of a node is its name and operator, neither types
nor sizes, so the rule goes by the operator: on the CPU, only those that move, compare or count elements may
stand (`SHAPE_OPERATORS`), which the CUDA provider has kernels for and so doesn't leave there by need. A
product, a convolution, a normalization, an activation on the CPU is a fall-back.

It imports only the standard library, because the backend runs outside the harness package.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

CPU = "CPUExecutionProvider"

SHAPE_OPERATORS = {
    "Shape", "Size", "Constant", "ConstantOfShape", "Identity", "Cast", "CastLike", "Range", "Reshape",
    "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Pad", "Concat", "Split", "Slice",
    "Gather", "GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND", "NonZero", "Trilu",
    "EyeLike", "Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Sign", "Floor", "Ceil", "Round", "Sqrt",
    "Pow", "Reciprocal", "Min", "Max", "Clip", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "And", "Or", "Xor", "Not", "Where", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin", "CumSum",
}  # fmt: skip

NAMED = 5
"""So many nodes are named in a refusal."""


class Node(NamedTuple):
    name: str
    operator: str


RECORD = "session.record_ep_graph_assignment_info"
"""The entry of a session's configuration, to be "1", without which it doesn't tell (onnxruntime 1.24)."""


def placement(session: Any) -> dict[str, list[Node]]:
    """The nodes of each provider."""
    placed: dict[str, list[Node]] = {}
    for group in session.get_provider_graph_assignment_info():
        nodes = placed.setdefault(group.ep_name, [])
        nodes += [Node(node.name, node.op_type) for node in group.get_nodes()]
    return placed


def fallen_back(placed: dict[str, list[Node]]) -> list[Node]:
    """The nodes on the CPU that compute."""
    return [node for node in placed.get(CPU, []) if node.operator not in SHAPE_OPERATORS]


def fall_back(placed: dict[str, list[Node]], wanted: str) -> str | None:
    """Why this placement isn't what was asked for, in one sentence; None if it is.

    `wanted` is the most preferred provider: it must have got a node.
    """
    if nodes := fallen_back(placed):
        named = ", ".join(f"'{node.name}' ({node.operator})" for node in nodes[:NAMED])
        more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
        return (
            f"ONNX Runtime can't run {named}{more} on the GPU and would compute on the CPU without a word: "
            "export the model with other operators, or serve it on the CPU"
        )
    if placed and not placed.get(wanted):
        return (
            f"ONNX Runtime gave none of the model's nodes to its {wanted}, but all to "
            f"{' and '.join(sorted(placed))}: leave the accelerator out"
        )
    return None


def told(placed: dict[str, list[Node]]) -> str:
    """For the log: how many nodes are on each provider, and which operators on the CPU."""
    total = sum(len(nodes) for nodes in placed.values())
    parts = [f"{len(nodes)} of {total} nodes on the {name}" for name, nodes in sorted(placed.items())]
    if shapes := Counter(node.operator for node in placed.get(CPU, [])):
        counts = ", ".join(f"{count} {operator}" for operator, count in shapes.most_common())
        parts.append(f"on the CPU for shapes: {counts}")
    return "; ".join(parts)
