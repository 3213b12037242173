"""A model in ONNX Runtime on the CPU, as the proof of an export needs it. Imports onnxruntime when used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.schema.tensors import Tensors


class Refused(Exception):
    """ONNX Runtime didn't load the model, or didn't run it; the message is its own first line."""


class Session:
    """One ONNX file, loaded with the CPU provider."""

    def __init__(self, path: Path, *, as_written: bool = False) -> None:
        """`as_written`: without graph optimizations. Raises Refused when the file doesn't load."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it has to say comes as an exception
        if as_written:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise Refused(_first_line(error)) from error
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self.output_shapes: dict[str, list[int | str | None]] = {
            o.name: list(o.shape or ()) for o in self._session.get_outputs()
        }
        """As the graph declares them, and ONNX Runtime infers them."""

    def run(self, feeds: Tensors) -> Tensors:
        """Every output for these inputs. Raises Refused when the model fails on them."""
        try:
            values = self._session.run(None, feeds)
        except Exception as error:
            raise Refused(_first_line(error)) from error
        return dict(zip(self.outputs, values, strict=True))


def _first_line(error: Exception) -> str:
    said = re.sub(
        r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", str(error).strip()
    )
    lines = said.splitlines()
    return lines[0][:300] if lines else type(error).__name__
