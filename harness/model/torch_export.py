"""A torch module to an ONNX graph by `torch.onnx.export(dynamo=True)`. Imports torch: only for an export."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from harness.model.guest import guest
from harness.model.signature import TorchModel
from harness.schema.errors import InputError
from harness.schema.tensors import Tensors

OPSET = 18
"""Understood by every ONNX Runtime since 1.14 (2023), so by that of any Triton in service."""

_TALKATIVE = ("torch", "torch.onnx", "onnxscript", "onnx_ir", "transformers")


def to_onnx(model: TorchModel, name: str, feeds: Tensors) -> Any:
    """The ModelProto of `model`, traced on `feeds`, every named axis dynamic.

    Raises InputError when torch can't export it (a fixed size, control flow on values, an operator that ONNX
    doesn't have), or when the number of outputs isn't that of `model.outputs`.
    """
    dynamic = {
        i.name: {k: torch.export.Dim.DYNAMIC for k, a in enumerate(i.axes) if isinstance(a, str)}
        for i in model.inputs
    }
    arguments = tuple(torch.from_numpy(feeds[i.name]) for i in model.inputs)
    outputs = output_names(model, run(model, feeds, name))

    def blamed(error: BaseException) -> str:
        return (
            f"torch can't export {name}: {_cause(error)}; change the module so that it depends only on "
            "its inputs' values and shapes, or fix the axis in its Input"
        )

    with guest(blamed), _quiet(), torch.no_grad():
        program = torch.onnx.export(
            model.module,
            arguments,
            dynamo=True,
            dynamic_shapes=tuple(dynamic[i.name] for i in model.inputs),
            input_names=[i.name for i in model.inputs],
            output_names=list(outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        return program.model_proto


def run(model: TorchModel, feeds: Tensors, name: str) -> tuple[Any, ...]:
    """The module's own outputs, as NumPy arrays. Raises InputError when the module itself fails."""

    def blamed(error: BaseException) -> str:
        shapes = ", ".join(f"{n} {list(v.shape)}" for n, v in feeds.items())
        return (
            f"{name}: the module itself fails on {shapes} ({_cause(error)}): declare the axis's valid "
            "sizes (Axis(name, least, most, multiple_of)) and the inputs' range (Input(low, high))"
        )

    with guest(blamed), _quiet(), torch.no_grad():
        made = model.module(*(torch.from_numpy(feeds[i.name]) for i in model.inputs))
    tensors = made if isinstance(made, tuple | list) else (made,)
    if not tensors or not all(isinstance(t, torch.Tensor) for t in tensors):
        raise InputError(
            f"{name}: the module returns {type(made).__name__}, and must return a tensor or a tuple of "
            "tensors: wrap it in a module that does"
        )
    if any(t.dtype == torch.bfloat16 for t in tensors):
        raise InputError(
            f"{name}: the module returns BF16, which harness can't send: set `dtype: fp32`, or convert it in "
            "the module"
        )
    return tuple(t.detach().cpu().numpy() for t in tensors)


def output_names(model: TorchModel, made: tuple[Any, ...]) -> tuple[str, ...]:
    names = model.outputs or tuple(f"output_{i}" for i in range(len(made)))
    if len(names) != len(made):
        raise InputError(
            f"the module returns {len(made)} tensors, and `outputs` names {len(names)} "
            f"({', '.join(names)}): name each of them"
        )
    return names


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notices off the terminal; what matters in them becomes an exception anyway."""
    loggers = [logging.getLogger(n) for n in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """The first sentence of the innermost error: torch wraps the reason in advice on reporting bugs."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines[0] = f"{lines[0]} {lines[1]}"
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
