"""A server that has very much to say costs the load process little memory, as the kernel counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.load.coordinator.driver import drive
from harness.load.spools import read_spool
from harness.schema.load import PointLoad
from harness.schema.samples import Status
from tests.load.greedy import CASES, PIECE, PIECES, pings_unheard
from tests.load.rogue import grpc_says, rogue_server
from tests.load.shared_fork_server import shared_fork_server
from tests.load.test_drive import job, left_over, point

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


@pytest.mark.timeout(60)
def test_a_point_against_a_server_that_only_floods_ends_as_failed_requests(tmp_path: Path) -> None:
    """One user, whose process reads without the event loop's turn."""
    what = point("grpc", PointLoad(concurrency=1), warmup_s=0.0, duration_s=1.0, timeout_s=0.5)
    with rogue_server(grpc_says(then=pings_unheard)) as port:
        outcome = drive(job(what, port, tmp_path), fork_server=shared_fork_server())
    requests, reasons = read_spool(outcome.folder)
    assert len(requests) and not (requests["status"] == Status.OK).any()
    assert 0 < len(reasons) <= 3
    assert left_over(tmp_path) == []
