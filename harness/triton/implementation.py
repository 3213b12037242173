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
from mmap import ACCESS_READ, mmap
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
    """The version of the library that one of the processes has loaded; None where none can be seen."""
    for pid in process_ids:
        with suppress(OSError, ValueError):
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
            if loaded := re.search(r" (/\S.*/libonnxruntime\.so(?:\.[\d.]+)?)$", maps, re.MULTILINE):
                return _version_of(Path(f"/proc/{pid}/root{loaded[1]}"))
    return None


def _version_of(library: Path) -> str | None:
    """By its own word: on Linux ONNX Runtime's symbols are of the version `VERS_1.20.1` (its
    tools/ci_build/gen_def.py). Else by its name, or that of a link to it in the same folder: in NVIDIA's
    images the file is `libonnxruntime.so`."""
    with library.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if symbols := re.search(rb"\0VERS_(\d+\.\d+\.\d+)\0", content):
            return symbols[1].decode()
    # A link that begins at a container's root leads elsewhere from here, and is known by its last name.
    links = [link for link in library.parent.glob(f"{library.name}.*") if link.is_symlink()]
    names = [library.name] + [link.name for link in links if link.readlink().name == library.name]
    found = (re.fullmatch(r"libonnxruntime\.so\.(\d+\.\d+\.\d+)", name) for name in names)
    return next((name[1] for name in found if name), None)
