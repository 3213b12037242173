"""Factories that behave as no model should: they end the process, print, or take the output away."""

import os
import sys
from typing import Any

import torch

from harness.model import TorchModel
from tests.model.zoo import ROW, Linear, linear


def exits() -> TorchModel:
    sys.exit(0)


def raises_what_no_except_catches() -> TorchModel:
    raise GeneratorExit("out of the way")


def interrupts() -> TorchModel:
    raise KeyboardInterrupt


def prints() -> TorchModel:
    print("loading the weights")
    os.write(1, b"by the descriptor\n")
    return linear()


def takes_the_output_away() -> TorchModel:
    sys.stdout.close()
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stdout
    os.close(1)
    return linear()


class ExitsInForward(Linear):
    def forward(self, _: Any) -> Any:
        sys.exit(0)


class ExitsWhileItIsTraced(Linear):
    calls = 0

    def forward(self, x: Any) -> Any:
        if torch.compiler.is_exporting():
            sys.exit(0)
        return super().forward(x)


class ExitsWhenLookedAt(Linear):
    def named_parameters(self, *_: Any, **__: Any) -> Any:
        sys.exit(0)


class ExitsInEval(Linear):
    def eval(self) -> Any:
        sys.exit(0)


def exits_in_forward() -> TorchModel:
    return TorchModel(ExitsInForward(), ROW, ("scores", "label"))


def exits_while_it_is_traced() -> TorchModel:
    return TorchModel(ExitsWhileItIsTraced(), ROW, ("scores", "label"))


def exits_when_looked_at() -> TorchModel:
    return TorchModel(ExitsWhenLookedAt(), ROW, ("scores", "label"))


def exits_in_eval() -> TorchModel:
    return TorchModel(ExitsInEval(), ROW, ("scores", "label"))


def of_the_wrong_types() -> TorchModel:
    return TorchModel(Linear(), 5, 7)  # type: ignore[arg-type]
