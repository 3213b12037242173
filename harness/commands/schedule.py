"""`harness schedule`: ready files for what shall start `harness nightly` every night."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from harness import atomic, git
from harness.commands.run import RESULTS
from harness.schedule.crontab import crontab
from harness.schedule.github_workflow import workflow
from harness.schedule.kubernetes_cron_job import manifest
from harness.schedule.scheduled_night import ScheduledNight, time_of_day
from harness.schedule.systemd_timer import units
from harness.schema.errors import HarnessError, InputError
from harness.store.shipped import scenario_file
from harness.terminal import print_lines, tell

Scheduler = Literal["cron", "systemd", "github", "kubernetes"]
IN_CONTAINER = Path("/results")


def schedule(
    scheduler: Scheduler,
    scenario: Path,
    *,
    at: str = "03:00",
    results: Path | None = None,
    image: str | None = None,
    gpus: int = 1,
) -> dict[str, str]:
    """Texts by file name, with this Python, this folder and absolute paths in them. For Kubernetes, where
    `image` and `gpus` belong, `scenario` and `results` are paths in the container.

    Raises InputError for what isn't there, or can't stand in such a file.
    """
    if (image is None) == (scheduler == "kubernetes"):
        raise InputError("--image is for kubernetes, which needs one with harness and the scenario in it")
    hour, minute = time_of_day(at)
    if scheduler == "kubernetes":
        inside = str(results or IN_CONTAINER)
        night = ScheduledNight("python", "/", str(scenario), inside, hour, minute)
        return manifest(night, image or "", gpus)
    folder = Path.cwd()
    if scheduler == "github":
        folder = Path(git.said(folder, "rev-parse", "--show-toplevel") or folder)
    found = scenario_file(scenario).resolve()
    if not found.is_file():
        raise InputError(f"there is no scenario {scenario}: name a file, e.g. scenarios/quickstart.yaml")
    night = ScheduledNight(
        sys.executable, str(folder), str(found), str((results or RESULTS).absolute()), hour, minute
    )
    match scheduler:
        case "cron":
            return crontab(night)
        case "systemd":
            return units(night)
        case "github":
            return workflow(night)


def write(files: dict[str, str], folder: Path) -> None:
    """Each file into `folder`, which is made where it isn't there. Raises InputError where one of them is
    there already, and nothing is written; HarnessError where the folder can't be written."""
    for name in files:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise InputError(f"{folder / name} is there already: remove it, or give --to another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HarnessError(
            f"{folder} can't be made ({error.strerror or error}): give --to a folder that you can write"
        ) from error
    for name, text in files.items():
        atomic.write_text(folder / name, text, "give --to a folder that you can write")
        tell(f"written: {folder / name}")


def show(files: dict[str, str]) -> None:
    """Every file on stdout, with its name before it where there are several."""
    for name, text in files.items():
        print_lines(f"# {name}\n{text}\n" if len(files) > 1 else text)
