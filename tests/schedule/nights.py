"""Nights with hostile paths, and a harness that only ends with a code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hypothesis import strategies as some

from harness.schedule.scheduled_night import ScheduledNight

MEANT = "%\\\"'$`{}()&;|<>*?#!~ -=[]^@:é€😀"
"""Characters that mean something to one of the schedulers or its shell, and some that aren't ASCII."""

HARD = some.sampled_from(
    (
        "100%",
        "%%",
        "\\%",
        "\\\\%",
        "%h",
        "$HOME",
        "${{ github.token }}",
        "$(HOME)",
        "$$",
        "a'b",
        '"',
        "`id`",
        "a b",
    )
)
NAMES = some.one_of(
    HARD, some.text(some.sampled_from(MEANT) | some.characters(codec="utf-8"), min_size=1, max_size=12)
).filter(lambda name: name.isprintable() and "/" not in name and name not in (".", ".."))


def night(
    name: str = "quickstart", *, folder: str = "/srv/work", python: str = "/usr/bin/python3"
) -> ScheduledNight:
    """Of a scenario whose path has the name in it, as its results' has."""
    return ScheduledNight(python, folder, f"/srv/{name}/x{name}.yaml", f"/srv/{name}/results", 3, 5)


def words_of(shell_line: str) -> list[str]:
    """The words that a real shell makes of a command line."""
    script = f"set -f; printf '%s\\0' {shell_line}"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


def ends_with(code: int, folder: Path, name: str = "python") -> Path:
    """A program that prints its arguments and ends with a code; it leaves a night's folder where `--results`
    says."""
    program = folder / name
    program.write_text(
        "#!/bin/sh\n"
        'for each in "$@"; do echo "<$each>"; results=$each; done\n'
        'mkdir -p "$results/20300101T000000Z-x-nightly"\n'
        'echo "# a night" > "$results/20300101T000000Z-x-nightly/summary.md"\n'
        f"exit {code}\n"
    )
    program.chmod(0o755)
    return program


def run(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As GitHub's runner has it where `shell: bash` is asked for."""
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
