"""Factories for `package.module:factory` of kinds that others write: right, or with a remedy that works."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from harness.model import Input, TorchModel

ROW = (Input("x", "FP32", ("batch", 8)),)
TWO = (*ROW, Input("y", "FP32", ("batch", 8)))


class Scores(NamedTuple):
    scores: Any
    boxes: Any


@dataclass
class Found:
    best: Any
    rest: Any


class Apart(torch.nn.Module):
    """Its inputs aren't exchangeable, and its results are nested, some of them None."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8, 3)

    def forward(self, *args: Any, y: Any) -> Any:
        made = self.layer(args[0]) - self.layer(2 * y)
        return {"scores": made, "none": None, "more": (args[0] * 2, [y, None])}


def wrapped() -> TorchModel:
    module = Apart()
    module.layer = torch.compile(module.layer)  # type: ignore[assignment]
    return TorchModel(torch.compile(torch.nn.DataParallel(module)), TWO)


@torch.compile  # it would need a C++ compiler
def doubled(x: Any) -> Any:
    return x * 2


class Views(torch.nn.Module):
    """A view with the negative bit set, of what `torch.compile` made, and the input itself."""

    def forward(self, x: Any) -> Any:
        return Found(torch.fft.fft(doubled(x)).conj().imag, Scores(x, x))


def views() -> TorchModel:
    return TorchModel(Views(), ROW)


class Cast(torch.nn.Module):
    """BF16 weights, between FP32 inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(8, 3, dtype=torch.bfloat16)

    def forward(self, x: Any) -> Any:
        return self.layer(x.to(self.layer.weight.dtype)).float()


def brain_cast() -> TorchModel:
    return TorchModel(Cast(), ROW)


def brain() -> TorchModel:
    return TorchModel(torch.nn.Linear(8, 3, dtype=torch.bfloat16), ROW)


class Returns(torch.nn.Module):
    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def forward(self, x: Any) -> Any:
        return self.made(x)


def sparse() -> TorchModel:
    return TorchModel(Returns(lambda x: x.to_sparse()), ROW)


def ragged() -> TorchModel:
    return TorchModel(Returns(lambda x: torch.nested.nested_tensor(list(x))), ROW)


def complex_numbers() -> TorchModel:
    return TorchModel(Returns(torch.fft.rfft), ROW)


def conjugated() -> TorchModel:
    """A view with the conjugate bit set."""
    return TorchModel(Returns(lambda x: torch.fft.rfft(x).conj()), ROW)


def conjugated_and_resolved() -> TorchModel:
    """As the refusal of `conjugated` advises."""
    return TorchModel(Returns(lambda x: torch.view_as_real(torch.fft.rfft(x).conj().resolve_conj())), ROW)


def quantized() -> TorchModel:
    return TorchModel(Returns(lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8)), ROW)


def eight_bits() -> TorchModel:
    return TorchModel(Returns(lambda x: x.to(torch.float8_e4m3fn)), ROW)


def a_number() -> TorchModel:
    return TorchModel(Returns(lambda x: (x, 0.5)), ROW)


def nothing() -> TorchModel:
    return TorchModel(Returns(lambda _: None), ROW)


def lazy() -> TorchModel:
    return TorchModel(torch.nn.LazyLinear(4), ROW)


def lazy_called() -> TorchModel:
    """As the refusal of `lazy` advises."""
    module = torch.nn.LazyLinear(4)
    module(torch.zeros(2, 8))
    return TorchModel(module, ROW)


def meta_assigned() -> TorchModel:
    """As the refusal of `meta` advises."""
    module = torch.nn.Linear(8, 4, device="meta")
    module.load_state_dict(torch.nn.Linear(8, 4).state_dict(), assign=True)
    return TorchModel(module, ROW)


def meta() -> TorchModel:
    return TorchModel(torch.nn.Linear(8, 4, device="meta"), ROW)


def script() -> TorchModel:
    return TorchModel(torch.jit.script(torch.nn.Linear(8, 4)), ROW)


class Named(torch.nn.Module):
    def forward(self, *, z: Any) -> Any:
        return z


def another_keyword() -> TorchModel:
    return TorchModel(Named(), ROW)


def too_many_inputs() -> TorchModel:
    return TorchModel(torch.nn.Linear(8, 4), TWO)
