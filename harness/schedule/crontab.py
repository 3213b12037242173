"""A line for `crontab -e`.

Source: crontab(5) and do_command.c of cron 3.0: an unescaped % ends the command; the backslash before a % is
taken away by some crons and left to the shell by others, and outside of quotes both mean %.
"""

from __future__ import annotations

import shlex

from harness.schedule.scheduled_night import QUIET, ScheduledNight
from harness.schema.errors import InputError

MOST_BYTES = 998
"""Of a command: cron reads it into 1000 bytes (MAX_COMMAND)."""


def crontab(night: ScheduledNight) -> dict[str, str]:
    """The text by file name. Raises InputError where the paths are too long for cron."""
    log = f"{night.name}.log"
    measured = f"cd {quoted(night.folder)} || exit; {' '.join(map(quoted, night.command))} > {log} 2>&1"
    command = f"{measured}; case $? in 0|{QUIET}) ;; *) cat {log} ;; esac"
    size = len(command.encode())
    if size > MOST_BYTES:
        raise InputError(
            f"cron takes a command of {MOST_BYTES} bytes, and this one has {size}: link to the folders under "
            "shorter names"
        )
    text = f"""\
# {night.name}: add the last line with `crontab -e`. The time is the machine's.
# cron mails what a job prints. This one prints its log only where somebody should look: after a regression
# (exit code 1), bad input (2) or a failure (4), and not after an inconclusive night ({QUIET}).
# HARNESS_WEBHOOK_URL=… and HARNESS_WEBHOOK_SECRET=… may stand above it, a line each.
{night.cron_time} {command}
"""
    return {f"{night.name}.cron": text}


def quoted(word: str) -> str:
    r"""One word for the shell behind cron: a % stands as \% outside of quotes, and no backslash stands before
    a backslash or a %, so that no cron takes one away."""
    if "%" not in word and "\\" not in word:
        return shlex.quote(word)
    return "".join({"%": "\\%", "\\": "'\\'"}.get(c) or shlex.quote(c) for c in word)
