"""A torch module to an ONNX graph by `torch.onnx.export(dynamo=True)`. Imports torch: only for an export."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnxscript
import torch

from harness.model.guest import guest
from harness.model.signature import TorchModel
from harness.model.torch_module import Called, results, to_numpy
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
    called = _called(model, name)
    shapes = [
        {k: torch.export.Dim.DYNAMIC for k, a in enumerate(i.axes) if isinstance(a, str)}
        for i in model.inputs
    ]
    arguments = [torch.from_numpy(feeds[i.name]) for i in model.inputs]
    outputs = tuple(run(model, feeds, name))

    def blamed(error: BaseException) -> str:
        if any(isinstance(part, torch.jit.ScriptModule) for part in model.module.modules()):
            remedy = "return the module that its TorchScript was made of"
        elif "No ONNX function" in _cause(error):
            remedy = "compute it in another way: ONNX has no such operator"
        else:
            remedy = (
                "change the module so that it depends only on its inputs' values and shapes, or fix the axis "
                "in its Input"
            )
        return f"torch can't export {name}: {_cause(error)}; {remedy}"

    with guest(blamed), _as_written(), torch.no_grad():
        program = torch.onnx.export(
            called,
            (arguments,),
            dynamo=True,
            dynamic_shapes=(shapes,),
            input_names=[i.name for i in model.inputs],
            output_names=list(outputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            custom_translation_table={torch.ops.aten._neg_view.default: lambda x: onnxscript.opset18.Neg(x)},
        )
        return program.model_proto


def run(model: TorchModel, feeds: Tensors, name: str) -> Tensors:
    """The module's own outputs by name. Raises InputError when the module itself fails, or returns what
    can't be sent."""
    called = _called(model, name)

    def blamed(error: BaseException) -> str:
        shapes = ", ".join(f"{n} {list(v.shape)}" for n, v in feeds.items())
        return f"{name}: the module itself fails on {shapes} ({_cause(error)}): {_remedy(model, error)}"

    with guest(blamed), _as_written(), torch.no_grad():
        made = results(called.made([torch.from_numpy(feeds[i.name]) for i in model.inputs]))
    taken = {i.name for i in model.inputs}
    names = model.outputs or tuple(f"output_{i}" if n in taken else n for i, (n, _) in enumerate(made))
    if not made:
        raise InputError(f"{name}: the module returns nothing, and must return a tensor: return one")
    if len(names) != len(made):
        raise InputError(
            f"{name}: the module returns {len(made)} tensors, and `outputs` names {len(names)} "
            f"({', '.join(names)}): name each of them"
        )
    return {n: to_numpy(n, tensor, name) for n, (_, tensor) in zip(names, made, strict=True)}


def _called(model: TorchModel, name: str) -> Called:
    return Called(model.module, [i.name for i in model.inputs], name)


def _remedy(model: TorchModel, error: BaseException) -> str:
    """Of a module that fails on what its inputs declare."""
    kinds = {t.dtype for t in model.module.parameters() if t.is_floating_point()} - {torch.float32}
    if kinds and any(i.datatype == "FP32" for i in model.inputs):
        kind = str(kinds.pop()).removeprefix("torch.")
        return f"its weights are {kind}: set `dtype: fp32` (`--dtype fp32`), which converts them"
    if "dtype" in str(error):
        return "convert its inputs or its weights in the factory, so that they have one type"
    return (
        "declare the axis's valid sizes (Axis(name, least, most, multiple_of)) and the inputs' range "
        "(Input(low, high))"
    )


@contextlib.contextmanager
def _as_written() -> Iterator[None]:
    """Quiet, and with whatever `torch.compile` made run as the Python that it was made of."""
    with _quiet(), torch.compiler.set_stance("force_eager"):
        yield


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
