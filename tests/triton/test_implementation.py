"""Which backend served, by the log. The C++ backend's lines are as its users' reports show them."""

from __future__ import annotations

import shutil
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


ORT = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(flush=True); sys.stdin.read()"


def version_where(library: Path) -> str | None:
    """What is seen of a process that has loaded it."""
    with subprocess.Popen(
        [sys.executable, "-c", LOAD, library], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        version = onnxruntime_version([process.pid])
        process.kill()
    assert onnxruntime_version([process.pid]) is None
    return version


@pytest.mark.parametrize("name", [ORT.name, "libonnxruntime.so", "libonnxruntime.so.1"])
def test_version_is_that_of_the_library_in_the_process(name: str, tmp_path: Path) -> None:
    """Whatever its file is called, and whatever else lies beside it."""
    (tmp_path / name).symlink_to(ORT) if name == ORT.name else shutil.copyfile(ORT, tmp_path / name)
    (tmp_path / "libonnxruntime.so.0.0.0").touch()
    assert version_where(tmp_path / name) == onnxruntime.__version__
    assert onnxruntime_version([]) is None


PLAIN, NUMBERED = "libonnxruntime.so", "libonnxruntime.so.1.20.1"
LINKS = {
    "as in NVIDIA's images": (PLAIN, {NUMBERED: PLAIN}, "1.20.1"),
    "from the root": (PLAIN, {NUMBERED: f"/opt/x/{PLAIN}"}, "1.20.1"),
    "to another file": (PLAIN, {NUMBERED: "libonnxruntime_old.so"}, None),
    "none": (PLAIN, {}, None),
    "the usual way": (NUMBERED, {PLAIN: NUMBERED}, "1.20.1"),
}


@pytest.mark.parametrize("what", LINKS)
def test_version_of_a_library_that_does_not_tell_is_that_in_its_name_or_a_links(
    what: str, tmp_path: Path
) -> None:
    file, links, version = LINKS[what]
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is on PATH, which makes a library that isn't ONNX Runtime")
    empty = ["cc", "-shared", "-x", "c", "-o", str(tmp_path / file), "-"]
    subprocess.run(empty, input=b"int nothing;", check=True)
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    assert version_where(tmp_path / file) == version
