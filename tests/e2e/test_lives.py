"""What befalls a run from outside: it is stopped and goes on, the clock is set, its user is private."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import HARNESS, ONE, Workplace, ended, under_load, valid, wait_for
from tests.shared_library import built

pytestmark = pytest.mark.triton

SILENT_S = 17.0
"""A load process that says nothing for 15 s is taken for hung."""


def test_a_run_that_is_stopped_and_goes_on_blames_nobody(workplace: Workplace) -> None:
    """Ctrl-Z and fg: the shell sends them to the group of its foreground job."""
    process = subprocess.Popen(
        [*HARNESS, "run", str(workplace.scenario(ONE)), "--json"],
        cwd=workplace.path,
        env=os.environ | workplace.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # no session of its own: the kernel stops nobody whom nobody could continue
    )
    under_load(workplace, process, records=5)
    os.killpg(process.pid, signal.SIGTSTP)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    time.sleep(SILENT_S)
    os.killpg(process.pid, signal.SIGCONT)
    valid(ended(process))


def test_a_clock_that_is_set_back_in_a_run_makes_it_no_day_long(workplace: Workplace) -> None:
    set_back = workplace.path / "set-back"
    library = built([Path(__file__).with_name("clock.c")], "libclock.so", workplace.path)
    workplace.env |= {"LD_PRELOAD": str(library), "HARNESS_SET_BACK": str(set_back)}
    process = workplace.start("run", workplace.scenario(ONE), "--json")
    under_load(workplace, process, records=5)
    set_back.touch()
    said = "from datetime import datetime, UTC; print(datetime.now(UTC).date())"
    seen = subprocess.check_output(["python3", "-c", said], env=os.environ | workplace.env, text=True)
    assert (datetime.now().date() - datetime.fromisoformat(seen.strip()).date()).days >= 1, "the clock is set"
    document = valid(ended(process))
    began, finished = (datetime.fromisoformat(document[name]) for name in ("started_at", "finished_at"))
    assert 0 < (finished - began).total_seconds() < 600
    (point,) = document["points"]
    assert 0 < point["latency_s"]["p50"] < 60 and 0 < point["duration_s"] < 60


def test_a_private_user_s_run_is_read_by_nobody_else(workplace: Workplace) -> None:
    line = f"umask 077; exec {' '.join(HARNESS)} run {workplace.scenario(ONE)} --json"
    workplace.program = ["bash", "-c", line]
    document = valid(workplace.run())
    run = Path(document["path"])
    assert {path.name for path in run.iterdir()} >= {"report.html", "result.json", "summary.md"}
    open_to_others = {path for path in (run, *run.rglob("*")) if path.stat().st_mode & 0o077}
    assert not open_to_others


def test_a_run_with_few_descriptors_raises_its_limit_or_names_it(workplace: Workplace) -> None:
    many = ONE.replace("concurrency: [2]", "concurrency: [300]")
    # Of tens of thousands Triton's HTTP front end was once seen to leave two without their answers.
    many = many.replace(", at_most_s: 10, precision: {p50: 0.5}", "")
    file = workplace.scenario(many)
    workplace.program = ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "bash", *HARNESS]
    (point,) = valid(workplace.run("run", file, "--json"))["points"]
    assert point["errors"] == 0 and point["requests"] > 300
    workplace.program = ["bash", "-c", 'ulimit -n 256; exec "$@"', "bash", *HARNESS]
    refused = workplace.run("run", file)
    assert refused.code == 2 and "300 users take 300 connections" in refused.stderr
    assert "raise the hard limit (`ulimit -Hn`" in refused.stderr and "Traceback" not in refused.stderr
    assert len(workplace.runs) == 1, "nothing was begun"
