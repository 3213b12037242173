"""An ONNX session called directly, in its own process, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.calibration.direct import direct
from harness.schema.errors import HarnessError
from harness.schema.gpu_check import Direct
from tests.triton import models

PLAIN = {"provider": "CPUExecutionProvider", "options": {}, "threads": 1, "warmup_s": 0.05, "seconds": 0.3}


def called(onnx: Path, rows: tuple[int, ...], **changed: object) -> Direct:
    payloads = [{"x": np.ones((count, 4), np.float32)} for count in rows]
    return direct(onnx, payloads, **(PLAIN | changed))  # type: ignore[arg-type]


def test_calls_and_rows_are_counted_over_the_time_that_the_calls_took(tmp_path: Path) -> None:
    onnx = models.double(tmp_path).path
    found = called(onnx, (3, 5))
    assert found.provider == "CPUExecutionProvider"
    assert found.calls > 100
    # rows of 3 and 5 in turn are 4 a call, and the calls fill the time that was asked for
    assert found.inferences_per_s == pytest.approx(4 * found.calls / 0.3, rel=0.2)
    assert 0 < found.p50_s < 0.3 / found.calls * 2


def test_one_call_is_made_however_short_the_time(tmp_path: Path) -> None:
    onnx = models.double(tmp_path).path
    assert called(onnx, (1,), warmup_s=0.0, seconds=0.0).calls == 1


def test_a_provider_that_is_not_here_is_refused_not_replaced(tmp_path: Path) -> None:
    onnx = models.double(tmp_path).path
    with pytest.raises(HarnessError, match=r"can't be called directly on NoSuchExecutionProvider .*doctor"):
        called(onnx, (1,), provider="NoSuchExecutionProvider")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no protobuf")
    with pytest.raises(HarnessError, match="can't be called directly"):
        called(broken, (1,))
