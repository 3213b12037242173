"""Which of ONNX Runtime's execution providers work here, not only which it was built with.

ONNX Runtime lists a provider that it was built with even where the provider's libraries, driver or GPU are
missing, and then runs on the CPU with no more than a line on stderr. So each is tried, in a process of its
own: a broken driver can't take this one down, a CUDA context doesn't stay, and stderr says why it failed.
"""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import dataclass

from harness.child_process import exit_description
from harness.interpreter import python

_IDENTITY = base64.b64encode(
    b'\x08\x08:7\n\x10\n\x01x\x12\x01y"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02'
    b"\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
).decode()
"""The smallest ONNX model: y = Identity(x), one float; IR version 8, opset 13."""

_TRY = """
import base64, contextlib, sys
import numpy, onnxruntime
if hasattr(onnxruntime, "preload_dlls"):
    onnxruntime.preload_dlls()
if sys.argv[1] == "TensorrtExecutionProvider":
    with contextlib.suppress(ImportError):
        import tensorrt_libs
model = base64.b64decode(sys.argv[2])
session = onnxruntime.InferenceSession(model, providers=[sys.argv[1]], enable_fallback=0)
session.run(None, {"x": numpy.zeros(1, numpy.float32)})
print("used", session.get_providers()[0])
"""
"""Loads a provider's libraries as the backend in harness.triton does, of pip packages or the system's."""

_TIMEOUT_S = 120.0
"""TensorRT takes long to start."""


@dataclass(frozen=True, slots=True)
class ExecutionProvider:
    name: str
    """ONNX Runtime's name, e.g. "CUDAExecutionProvider"."""
    usable: bool
    reason: str | None
    """Why it can't be used; None if it can."""


def execution_providers() -> tuple[ExecutionProvider, ...]:
    """Every provider of the installed ONNX Runtime, tried on a one-node model, in its order of preference.

    Takes about half a second each. Empty where onnxruntime can't be imported.
    """
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(_tried(name) for name in onnxruntime.get_available_providers())


def _tried(name: str) -> ExecutionProvider:
    command = python("-c", _TRY, name, _IDENTITY)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return ExecutionProvider(name, usable=False, reason=f"it gave no answer for {_TIMEOUT_S:.0f} s")
    if done.returncode == 0 and f"used {name}" in done.stdout.splitlines():
        return ExecutionProvider(name, usable=True, reason=None)
    return ExecutionProvider(name, usable=False, reason=_reason(done.stderr, done.returncode))


def _reason(stderr: str, returncode: int) -> str:
    """One sentence out of ONNX Runtime's log, which gives the cause once and advice around it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stderr)
    missing = re.search(r"with error: (\S+): cannot open shared object file", plain)
    if missing:
        return f"the library {missing[1]} was not found"
    for cause in (r"with error: (.+)", r"(CUDA failure \d+: [^;]+)", r"\[ONNXRuntimeError\] : \d+ : (.+)"):
        found = re.search(cause, plain)
        if found:
            return found[1].strip()
    if returncode < 0:
        return f"the process that tried it {exit_description(returncode)}"
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return lines[-1] if lines else "ONNX Runtime used another one and said nothing"
