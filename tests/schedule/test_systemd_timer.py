"""The units, as the real systemd reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from harness.schedule.scheduled_night import ScheduledNight
from harness.schedule.systemd_timer import units
from harness.schema.errors import InputError
from tests.schedule.nights import NAMES, night, words_of

real_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze isn't here (apt-get install systemd)"
)


def verified(files: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """What `systemd-analyze verify` says of the files; with debugging on, also what it understood."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        own = {"XDG_RUNTIME_DIR": folder, "LC_ALL": "C.UTF-8"} | dict(each.split("=") for each in more)
        return subprocess.run(
            ["systemd-analyze", "verify", "--user", "--man=no", *(f"{folder}/{name}" for name in files)],
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
        )


@real_systemd
@settings(max_examples=15)
@given(NAMES, NAMES)
def test_systemd_understands_the_words_that_were_meant(name: str, folder: str) -> None:
    with tempfile.TemporaryDirectory() as real:
        python = Path(real) / "".join(c for c in f"{name}-python" if c not in "\"'\\")
        python.symlink_to(sys.executable)
        place = f"/srv/{folder}/end"
        tonight = night(name, folder=place, python=str(python))
        seen = verified(units(tonight), "SYSTEMD_LOG_LEVEL=debug")
    assert seen.returncode == 0, seen.stderr
    told = [line.strip().partition(": ") for line in f"{seen.stdout}\n{seen.stderr}".splitlines()]
    commands = [value for key, _, value in told if key == "Command Line"]
    assert [words_of(command) for command in commands] == [list(tonight.command)]
    assert place in [value for key, _, value in told if key == "WorkingDirectory"]


@real_systemd
def test_systemd_has_nothing_against_them_and_would_tell() -> None:
    files = units(night(python=sys.executable))
    done = verified(files)
    assert done.returncode == 0 and "harness-nightly" not in done.stderr, done.stderr
    wrong = {
        name: text.replace("SuccessExitStatus=3", "SuccessExitStatuses=3") for name, text in files.items()
    }
    assert "Unknown key" in verified(wrong).stderr
    assert verified(units(night(python="/nowhere/python"))).returncode != 0


def test_when_it_starts_and_what_counts_as_success() -> None:
    service, timer = units(night()).values()
    assert "OnCalendar=*-*-* 03:05:00" in timer.splitlines() and "Persistent=true" in timer.splitlines()
    assert 'ExecStart=:"/usr/bin/python3" "-P"' in service, "without the colon $NAME would be replaced"
    assert "SuccessExitStatus=3" in service.splitlines() and "Type=oneshot" in service.splitlines()


@pytest.mark.parametrize("folder", ["/srv/x ", "/srv/x\\"])
def test_a_folder_that_systemd_cannot_be_told_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match="as its name ends"):
        units(ScheduledNight("/usr/bin/python3", folder, "/x.yaml", "/results", 3, 0))
    with pytest.raises(InputError, match="no program with quotes"):
        units(night(python="/it's/python"))
