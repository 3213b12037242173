"""A server that has very much to say costs the load process little memory, as the kernel counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.greedy import CASES, PIECE, PIECES

MOST_BYTES = 40 << 20


@pytest.mark.parametrize("case", CASES)
def test_what_nobody_reads_is_not_kept(case: str) -> None:
    assert PIECES * len(PIECE) > 4 * MOST_BYTES
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.greedy", case],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["more_bytes"] < MOST_BYTES, told
    assert (told["status"] == "OK") == (case == "a success in chunks"), told
