"""What is to run every night, and the rules that all schedulers share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from harness.schema.errors import ExitCode, InputError

QUIET = int(ExitCode.INVALID)
"""The exit code of a night that can't tell: nobody needs to be woken for it."""


@dataclass(frozen=True, slots=True)
class ScheduledNight:
    """`harness nightly` of one scenario, every day at one time. Raises InputError for a path that no
    scheduler's file can hold."""

    python: str
    """The absolute path of the Python that runs harness."""
    folder: str
    """The absolute path of the folder it starts in."""
    scenario: str
    results: str
    hour: int
    minute: int

    def __post_init__(self) -> None:
        for path in (self.python, self.folder, self.scenario, self.results):
            if not path.isprintable():
                raise InputError(
                    f"{path!r} has characters that a scheduler's file can't hold: rename it, or link to it"
                )

    @property
    def name(self) -> str:
        """`harness-nightly-` and the scenario's name in at most 36 letters, digits and hyphens. Kubernetes
        takes 52 characters for the name of a CronJob."""
        words = re.sub(r"[^a-z0-9]+", "-", PurePath(self.scenario).stem.lower())
        return f"harness-nightly-{words[:36].strip('-') or 'scenario'}"

    @property
    def command(self) -> tuple[str, ...]:
        """Each word of the command line. -P: nothing is imported from the folder it starts in."""
        asked = ("nightly", self.scenario, "--results", self.results)
        return (self.python, "-P", "-m", "harness", *asked)

    @property
    def cron_time(self) -> str:
        """The first five fields of a crontab's line."""
        return f"{self.minute} {self.hour} * * *"


def time_of_day(text: str) -> tuple[int, int]:
    """Hour and minute of "03:00". Raises InputError for anything else."""
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text)
    if found is None:
        raise InputError(f"--at {text!r} is no time of day: give hours and minutes, e.g. 03:00")
    return int(found[1]), int(found[2])
