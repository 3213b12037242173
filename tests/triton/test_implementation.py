"""Which backend served, by the log. The C++ backend's lines are as its users' reports show them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from threading import Timer

import onnxruntime
import pytest

from harness.triton import implementation
from harness.triton.implementation import CPP, PYTHON, UNKNOWN, found, named, onnxruntime_version

LOGS = {
    "C++, Triton 2.51": (
        'I1130 13:52:53.794101 84965 onnxruntime.cc:2930] "TRITONBACKEND_Initialize: onnxruntime"\n'
        'I1130 13:52:53.894101 84965 onnxruntime.cc:2993] "TRITONBACKEND_ModelInitialize: double '
        '(version 1)"\n',
        CPP,
    ),
    "C++, before quotes": (
        "I1029 22:38:40.218506 68 onnxruntime.cc:1817] "
        "TRITONBACKEND_ModelInstanceInitialize: double_0 (CPU device 0)\n",
        CPP,
    ),
    "Python": (
        'I1122 19:48:38.213075 12436 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize: double_0_0 '
        '(CPU device 0)"\n',
        PYTHON,
    ),
    "another model's": (
        'I1130 13:52:53.894101 84965 onnxruntime.cc:2993] "TRITONBACKEND_ModelInitialize: double_x '
        '(version 1)"\n',
        UNKNOWN,
    ),
    "the backend, but no model": (
        'I1130 13:52:53.794101 84965 onnxruntime.cc:2930] "TRITONBACKEND_Initialize: onnxruntime"\n',
        UNKNOWN,
    ),
    "somebody's words": (
        'I1 2 3 model.py:1] "onnxruntime.cc: TRITONBACKEND_ModelInitialize: double ("\n',
        UNKNOWN,
    ),
    "nothing": ("", UNKNOWN),
}


@pytest.mark.parametrize("what", LOGS)
def test_the_log_tells_which_implementation_loaded_the_model(what: str) -> None:
    said, backend = LOGS[what]
    assert named(said, "double") == backend


def test_only_what_was_logged_since_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implementation, "LOG_DELAY_S", 0.0)
    log = tmp_path / "log"
    log.write_text(LOGS["Python"][0])
    since = log.stat().st_size
    assert found(log, 0, "double", []) == (PYTHON, None)
    assert found(log, since, "double", []) == (UNKNOWN, None)


def test_a_log_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    late = Timer(0.3, lambda: log.write_text(LOGS["C++, Triton 2.51"][0]))
    late.start()
    began = time.monotonic()
    assert found(log, 0, "double", [])[0] == CPP
    assert time.monotonic() - began < implementation.LOG_DELAY_S
    late.join()


def test_version_is_that_of_the_library_in_the_process() -> None:
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    load = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", load, library], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert onnxruntime_version([process.pid]) == onnxruntime.__version__
        process.kill()
    assert onnxruntime_version([]) is None
    assert onnxruntime_version([process.pid]) is None
