"""Factories for `package.module:factory`: one that is right, and one for each way to be wrong."""

from typing import Any

import torch

from harness.model import Axis, Input, TorchModel

ROW = (Input("x", "FP32", ("batch", 8)),)
SERIES = (Input("x", "FP32", ("batch", "samples")),)


class Linear(torch.nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.layer(x), self.layer(x).argmax(1)


def linear() -> TorchModel:
    return TorchModel(Linear(), ROW, ("scores", "label"))


def other_weights() -> TorchModel:
    return TorchModel(Linear(seed=1), ROW, ("scores", "label"))


class Lookup(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 8)

    def forward(self, ids: Any) -> Any:
        return torch.tanh(self.embedding(ids).sum(1))


def named_like_an_inner_value() -> TorchModel:
    return TorchModel(Lookup(), (Input("ids", "INT64", ("batch", "n"), 0, 5),), ("embedding",))


def named_well() -> TorchModel:
    return TorchModel(Lookup(), (Input("ids", "INT64", ("batch", "n"), 0, 5),), ("vector",))


class FrozenBranch(torch.nn.Module):
    """The export keeps the branch that the traced length took."""

    def forward(self, x: Any) -> Any:
        return x if x.shape[1] % 2 else -x


def frozen_branch() -> TorchModel:
    return TorchModel(FrozenBranch(), SERIES)


class Random(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.nn.functional.dropout(x, 0.5, True)


def random() -> TorchModel:
    return TorchModel(Random(), ROW)


class MixesRows(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x - x.mean(0, keepdim=True) / 2


def mixes_rows() -> TorchModel:
    return TorchModel(MixesRows(), ROW)


class Total(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.sum()


def total() -> TorchModel:
    return TorchModel(Total(), ROW)


class SumOfRows(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.sum(0)


def sum_of_rows() -> TorchModel:
    return TorchModel(SumOfRows(), ROW)


class Unrolled(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.stack([row * 2 for row in x])


def unrolled() -> TorchModel:
    return TorchModel(Unrolled(), ROW)


class ValueBranch(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2 if x.sum() > 0 else x


def value_branch() -> TorchModel:
    return TorchModel(ValueBranch(), ROW)


class NotANumber(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.log(-x.abs())


def not_a_number() -> TorchModel:
    return TorchModel(NotANumber(), ROW)


class Halves(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], -1, 16).sum(2)


def undeclared_sizes() -> TorchModel:
    return TorchModel(Halves(), SERIES)


def declared_sizes() -> TorchModel:
    return TorchModel(Halves(), SERIES, ("sums",), axes=(Axis("samples", 16, 4096, 16),))


class Tall(torch.nn.Module):
    """Weights of another type than FP32, on token ids or on FP32 rows."""

    def __init__(self, kind: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(20, 8, dtype=kind)
        self.layer = torch.nn.Linear(8, 3, dtype=kind)

    def forward(self, ids: Any) -> Any:
        return torch.tanh(self.layer(self.table(ids).sum(1)))


IDS = (Input("ids", "INT64", ("batch", "n"), 0, 20),)


def half_weights() -> TorchModel:
    return TorchModel(Tall(torch.float16), IDS)


def brain_weights() -> TorchModel:
    return TorchModel(Tall(torch.bfloat16), IDS)


def half_inputs() -> TorchModel:
    return TorchModel(torch.nn.Linear(8, 3, dtype=torch.float16), (Input("x", "FP16", ("batch", 8)),))


def bare_module() -> Any:
    return Linear()


def no_batch() -> TorchModel:
    return TorchModel(Linear(), (Input("x", "FP32", (2, 8)),))


def one_name_too_few() -> TorchModel:
    return TorchModel(Linear(), ROW, ("scores",))


def raises() -> TorchModel:
    raise RuntimeError("weights were not found")


not_callable = 3
