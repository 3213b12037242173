"""A model in ONNX Runtime on the CPU, as the proof of an export needs it. Imports onnxruntime when used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.schema.tensors import Tensors


class Refused(Exception):
    """ONNX Runtime didn't load the model, or didn't run it; the message is its own first line."""


class TooNew(Refused):
    """The file has a version that this ONNX Runtime doesn't know; the message has both."""


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
            raise _refused(error) from error
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
            raise _refused(error) from error
        return dict(zip(self.outputs, values, strict=True))


def _refused(error: Exception) -> Refused:
    """In its own words, or with both versions where the file is newer than ONNX Runtime."""
    import onnxruntime

    said = str(error)
    ours = f"ONNX Runtime {onnxruntime.__version__}"
    if found := re.search(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)", said):
        return TooNew(f"it has IR version {found[1]}, and {ours} reads up to {found[2]}")
    opset = r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)"
    if found := re.search(opset, said, re.DOTALL):
        return TooNew(f"it has opset {found[1]} of {found[2]}, and {ours} reads up to {found[3]}")
    return Refused(_cause(said) or type(error).__name__)


def _cause(said: str) -> str:
    """The first line without what only ONNX Runtime's developers can use: numbers, places in its source."""
    said = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", said.strip())
    line = said.partition("\n")[0]
    place = re.search(r"/\S+\.(?:cc|cpp|cu|h):\d+ ", line)
    if place is not None:
        after = _after_signature(line[place.end() :])
        line = line[: place.start()] + after if after else line
    return line.strip()[:300]


def _after_signature(text: str) -> str:
    """What follows the C++ function that `text` begins with, whose arguments may have parentheses too."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == ")" and depth == 0:
            return re.sub(r"^ (const )?(\[with .*?\] )?", "", text[at + 1 :])
    return ""
