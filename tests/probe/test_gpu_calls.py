"""The double answers every call of NVML that harness makes, and each may fail."""

from __future__ import annotations

import ast
import ctypes
import inspect
import re
from pathlib import Path

import pynvml

import harness.probe
from tests.nvml import SOURCES, NvmlDouble, observe_each

PROBE = Path(harness.probe.__file__).parent


def calls_made() -> set[str]:
    """Names under which pynvml has the calls, wherever they stand in the probe's code; not in its prose."""
    found: set[str] = set()
    for file in PROBE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "pynvml" and re.fullmatch(r"nvml[A-Z]\w+", node.attr):
                    found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # "nvmlGpmMetricsGet(" is how a recorded call with an argument begins
                found.update(re.findall(r"^(nvml[A-Z]\w+)\(?$", node.value))
    return found


def exported(name: str) -> set[str]:
    """What pynvml's function `name` asks the library for, through the functions of its own that it calls."""
    source = inspect.getsource(getattr(pynvml, name)).split(":\n", 1)[1]
    names = set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', source))
    for inner in re.findall(r"\b(nvml[A-Z]\w+)\(", source):
        if hasattr(pynvml, inner) and inner not in (name, "nvmlStructToFriendlyObject"):
            names |= exported(inner)
    return names


def test_the_double_exports_what_the_probe_calls_and_no_more(nvml_double: NvmlDouble) -> None:
    wanted = {"nvmlErrorString"}  # by pynvml's errors
    for name in calls_made():
        wanted |= exported(name)
    wanted.remove("nvmlDeviceGetMemoryInfo_v2")  # only when pynvml is given a version
    library = Path(nvml_double()["LD_LIBRARY_PATH"].split(":")[0]) / "libnvidia-ml.so.1"
    double = ctypes.CDLL(str(library))
    assert {name for name in wanted if not hasattr(double, name)} == set()
    defined = re.findall(r"^(?:nvmlReturn_t |const char \*|NUMBER\w*\()(nvml\w+)", _source(), re.MULTILINE)
    assert set(defined) == wanted


def _source() -> str:
    return "\n".join(source.read_text() for source in SOURCES)


def test_whatever_call_fails_the_others_answers_are_there(nvml_double: NvmlDouble) -> None:
    calls = sorted(calls_made() - {"nvmlInit", "nvmlShutdown"})
    scripts = [f"gpus=2 mig=2 {word}={call}" for call in calls for word in ("unsupported", "missing")]
    for script, seen in zip(scripts, observe_each(nvml_double(), scripts, rounds=5), strict=True):
        if "nvmlDeviceGetCount" in script or "nvmlDeviceGetHandleByIndex" in script:
            assert seen["unavailable"], script
            continue
        assert seen["unavailable"] is None
        powers = [r["power_w"] for readings in seen["rounds"] for r in readings if r["mig_instance"] is None]
        assert len(powers) == 10 and None not in powers[:2], script
