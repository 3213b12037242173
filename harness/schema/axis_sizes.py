"""The size of an axis: a number, a name that a request sizes, or what is computed of such names.

ONNX files name an axis that follows from others by an expression: `past_seq + seq`, `2*frames`.
"""

from __future__ import annotations

import ast
import functools
import operator
import re
from collections.abc import Callable, Mapping

from harness.schema.errors import InputError

Axis = int | str

LONGEST = 100
"""Characters of an expression."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,  # of sizes, so exporters mean whole numbers
}


class NoSize(InputError):
    """An axis that is computed comes to less than 1."""


@functools.cache
def names(axis: Axis) -> tuple[str, ...]:
    """The names that its size depends on: itself, those in an expression, or none."""
    if isinstance(axis, int):
        return ()
    tree = None if _NAME.fullmatch(axis) else _expression(axis)
    if tree is None:
        return (axis,)
    return tuple(dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)))


def computed(axis: Axis) -> bool:
    """Whether it is an expression."""
    return isinstance(axis, str) and names(axis) != (axis,)


def renamed(axis: str, names: Mapping[str, str]) -> str:
    """The expression with other names in it."""
    return re.sub(r"[A-Za-z_][A-Za-z0-9_]*", lambda found: names.get(found[0], found[0]), axis)


def size(axis: Axis, sizes: Mapping[str, int]) -> int:
    """Its size where the names have these sizes. Raises NoSize where that is less than 1."""
    if isinstance(axis, int):
        return axis
    if not computed(axis):
        return sizes[axis]
    tree = _expression(axis)
    assert tree is not None
    try:
        found = _value(tree, sizes)
    except ZeroDivisionError:
        found = 0
    if found < 1:
        at = ", ".join(f"{name} {sizes[name]}" for name in names(axis))
        raise NoSize(f"the axis {axis!r} has the size {found} at {at}: give sizes that make it 1 or more")
    return found


def _expression(text: str) -> ast.expr | None:
    """Its tree; None for what is no expression of names and whole numbers with a name in it."""
    if len(text) > LONGEST:
        return None
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    every = [node for node in ast.walk(tree) if not isinstance(node, ast.operator | ast.expr_context)]
    plain = all(
        isinstance(node, ast.Name)
        or (isinstance(node, ast.Constant) and type(node.value) is int and node.value < 2**31)
        or (isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS)
        for node in every
    )
    return tree if plain and any(isinstance(node, ast.Name) for node in every) else None


def _value(tree: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(tree, ast.Name):
        return sizes[tree.id]
    if isinstance(tree, ast.Constant):
        assert isinstance(tree.value, int)
        return tree.value
    assert isinstance(tree, ast.BinOp)
    return _OPERATORS[type(tree.op)](_value(tree.left, sizes), _value(tree.right, sizes))
