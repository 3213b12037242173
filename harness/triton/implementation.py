"""Which implementation of Triton's `onnxruntime` backend serves a model: by the server's own log.

Triton's API gives only the backend's name. But each implementation logs the start of a model from its own
source file: NVIDIA's C++ backend from onnxruntime.cc (its TRITONBACKEND_ModelInitialize), whatever runs on
the Python backend from python_be.cc.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness.triton import process

CPP = "onnxruntime, NVIDIA's C++ backend"
PYTHON = "onnxruntime on Triton's Python backend"
UNKNOWN = "onnxruntime, by an implementation that the server's log doesn't tell"

LOG_DELAY_S = 2.0
"""What a log may come later than the answer: a container's goes through its engine."""


def found(log: Path, since: int, model: str, process_ids: Iterable[int]) -> tuple[str, str | None]:
    """The implementation in words, and ONNX Runtime's version where it can be seen."""
    give_up = time.monotonic() + LOG_DELAY_S
    while (backend := named(process.said(log, since), model)) == UNKNOWN and time.monotonic() < give_up:
        time.sleep(0.05)
    return backend, onnxruntime_version(process_ids) if backend == CPP else None


def named(said: str, model: str) -> str:
    """What the lines that Triton logged while it loaded `model` say."""
    sources = {CPP: r"onnxruntime\.cc", PYTHON: r"python_be\.cc"}
    for backend, source in sources.items():
        # An instance's name is the model's with its group and number: double_0_0.
        line = rf'^I\S+ \S+ \d+ {source}:\d+\] "?TRITONBACKEND_Model(?:Instance)?Initialize: '
        if re.search(rf"{line}{re.escape(model)}(?:_\d+)* \(", said, re.MULTILINE):
            return backend
    return UNKNOWN


def onnxruntime_version(process_ids: Iterable[int]) -> str | None:
    """The version of the library that one of the processes has loaded, where its file is named after it."""
    for pid in process_ids:
        with suppress(OSError):
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
            if loaded := re.search(r"/libonnxruntime\.so\.(\d+\.\d+\.\d+)$", maps, re.MULTILINE):
                return loaded[1]
    return None
