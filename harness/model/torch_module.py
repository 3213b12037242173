"""A user's torch module as it is exported: without wrappers, called as its forward wants, its results in one
row. Imports torch: only for a factory's module and for an export."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch._dynamo.eval_frame import OptimizedModule

from harness.schema.errors import InputError

_SENDABLE = {
    *(torch.bool, torch.float16, torch.float32, torch.float64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
}

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,60}")
"""Names that Triton, a path and a reader take as they are."""


def unwrapped(module: Any) -> Any:
    """The module without `torch.compile` and data parallelism, wherever they are in it: the same function."""
    for part in list(module.modules()):
        for name, child in part._modules.items():
            if child is not None:
                part._modules[name] = _inner(child)
    return _inner(module)


def check_weights(name: str, module: Any) -> None:
    """Raise InputError, with the remedy, where weights have no values yet, or are on another device."""
    for at, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise InputError(
                f"{name}: the weights {at!r} have no size yet (a lazy module): call the module once on an "
                "example in the factory, then load its weights"
            )
        if tensor.device.type == "meta":
            raise InputError(
                f"{name}: the weights {at!r} have no values (device meta): build the module on the CPU, or "
                "load its weights in the factory (`load_state_dict(weights, assign=True)`)"
            )
        if tensor.device.type != "cpu":
            raise InputError(
                f"{name}: the weights {at!r} are on {tensor.device}, and the export is proven on the CPU: "
                "return `module.cpu()`"
            )


class Called(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A module that takes its inputs as one list and gives the tensors that it returns as one tuple."""

    def __init__(self, module: Any, inputs: Sequence[str], name: str) -> None:
        """`inputs`: their names, in the order of the list. Raises InputError where forward takes others."""
        super().__init__()
        self.module = module
        self.inputs = tuple(inputs)
        self.keywords = _keywords(module, inputs, name)

    def forward(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(tensor for _, tensor in results(self.made(inputs)))

    def made(self, inputs: Sequence[Any]) -> Any:
        """What the module itself returns."""
        given = dict(zip(self.inputs, inputs, strict=True))
        named = {name: given.pop(name) for name in self.keywords}
        return self.module(*given.values(), **named)


def results(made: Any) -> list[tuple[str, Any]]:
    """What a module returned, flat: the tensors in its tuples, lists, dicts and dataclasses, in order, each
    with a name after its place. None is nothing."""
    leaves = list(_leaves(made, ()))
    names = [_name(path) for path, _ in leaves]
    return [
        (name if names.count(name) == 1 and _PLAIN.fullmatch(name) else f"output_{i}", leaf)
        for i, (name, (_, leaf)) in enumerate(zip(names, leaves, strict=True))
    ]


def to_numpy(output: str, tensor: Any, name: str) -> Any:
    """The tensor as NumPy has it. Raises InputError, with the remedy, for what no request could be answered
    with."""
    if not isinstance(tensor, torch.Tensor):
        raise _unfit(
            name, output, f"a {type(tensor).__name__}", "return only tensors, in tuples, lists or dicts"
        )
    if tensor.is_nested:
        raise _unfit(
            name, output, "ragged (a nested tensor)", "return it padded (`torch.nested.to_padded_tensor`)"
        )
    if tensor.layout != torch.strided:
        raise _unfit(name, output, f"sparse ({tensor.layout})", "return a dense tensor")
    if tensor.is_complex():
        # torch makes no real view of one that is only marked as conjugated.
        of_it = "its `resolve_conj()`" if tensor.is_conj() else "it"
        raise _unfit(name, output, "complex", f"return `torch.view_as_real` of {of_it}, or its parts")
    if tensor.is_quantized:
        raise _unfit(name, output, "quantized", "return `dequantize()` of it")
    if tensor.dtype == torch.bfloat16:
        raise _unfit(
            name, output, "BF16, which harness can't send", "set `dtype: fp32`, or convert it in the module"
        )
    if tensor.dtype not in _SENDABLE:
        raise _unfit(name, output, f"{tensor.dtype}, which harness can't send", "convert it in the module")
    return tensor.detach().cpu().resolve_conj().resolve_neg().numpy()


def _inner(module: Any) -> Any:
    while True:
        if isinstance(module, OptimizedModule):
            module = module._orig_mod
        elif isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module


def _keywords(module: Any, inputs: Sequence[str], name: str) -> tuple[str, ...]:
    """Those of the inputs that forward takes by name only; the others go by position, in their order."""
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # forward is no Python function
        return ()
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    only = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    ordered = [n for n in inputs if n not in only]
    places = sum(kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
    if inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        only |= set(ordered[places:])
    keywords = tuple(n for n in inputs if n in only)
    try:
        signature.bind(*(n for n in inputs if n not in only), **dict.fromkeys(keywords))
    except TypeError as error:
        raise InputError(
            f"{name}: its forward doesn't take the inputs {', '.join(inputs)} ({error}): give an Input for "
            "each of its parameters, in their order, and one that is keyword-only the name of its keyword"
        ) from error
    return keywords


def _leaves(made: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    parts: Any = None
    if isinstance(made, Mapping):
        parts = made.items()
    elif isinstance(made, tuple | list):
        parts = zip(getattr(made, "_fields", range(len(made))), made, strict=True)
    elif is_dataclass(made):
        parts = ((field.name, getattr(made, field.name)) for field in fields(made))
    if parts is not None:
        for key, part in parts:
            yield from _leaves(part, (*path, str(key)))
    elif made is not None:
        yield path, made


def _name(path: tuple[str, ...]) -> str:
    """`logits` of a dict's entry, `output_1` of a tuple's."""
    said = "_".join(path or ("0",))
    return f"output_{said}" if said[:1].isdigit() else said


def _unfit(name: str, output: str, what: str, remedy: str) -> InputError:
    return InputError(f"{name}: the module's {output} is {what}: {remedy}")
