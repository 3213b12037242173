"""ONNX Runtime's own builds send telemetry unless they are told not to before they are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.triton.embedded import PASSED_ON

VARIABLE = "ORT_DISABLE_TELEMETRY"


def test_it_is_switched_off_here_and_in_what_is_started_unless_the_user_says_otherwise() -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", f"import harness, os; print(os.environ[{VARIABLE!r}])"],
            check=True,
            capture_output=True,
            text=True,
            env={name: value for name, value in os.environ.items() if name != VARIABLE} | given,
        ).stdout.strip()
        for given in ({}, {VARIABLE: "0"})
    ]
    assert said == ["1", "0"]
    assert VARIABLE in PASSED_ON
