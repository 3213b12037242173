"""A service and a timer of a user's systemd.

Source: systemd.service(5), systemd.unit(5) and systemd.timer(5), version 252. In ExecStart= double quotes and
backslashes act, % begins a specifier, and $ a variable unless ":" stands before the command. In
WorkingDirectory= only % acts, and blanks at its ends are lost.
"""

from __future__ import annotations

from harness.schedule.scheduled_night import QUIET, ScheduledNight
from harness.schema.errors import InputError


def units(night: ScheduledNight) -> dict[str, str]:
    """Texts by file name. Raises InputError for a folder or a Python whose name systemd doesn't take."""
    if set(night.python) & set("\"'\\"):
        raise InputError(f"systemd starts no program with quotes or backslashes in its path: {night.python}")
    if night.folder.endswith((" ", "\\")):
        raise InputError(f"systemd can't start in {night.folder!r}, as its name ends: give it another name")
    service = f"""\
# Put both files into ~/.config/systemd/user/, then
#   systemctl --user daemon-reload
#   systemctl --user enable --now {night.name}.timer
#   loginctl enable-linger      # so that it runs while you aren't logged in
[Unit]
Description={night.name}

[Service]
Type=oneshot
WorkingDirectory={night.folder.replace("%", "%%")}
ExecStart=:{" ".join(map(quoted, night.command))}
# HARNESS_WEBHOOK_URL=… and HARNESS_WEBHOOK_SECRET=…, a line each, in a file that only you can read.
EnvironmentFile=-%h/.config/harness/nightly.env
# An inconclusive night is no failure: OnFailure= doesn't start, and `systemctl --failed` doesn't list it.
SuccessExitStatus={QUIET}
# harness ends the servers that it started; what is left after it is killed.
KillMode=mixed
"""
    timer = f"""\
[Unit]
Description={night.name} at {night.hour:02}:{night.minute:02}

[Timer]
OnCalendar=*-*-* {night.hour:02}:{night.minute:02}:00
# A night that was missed, because the machine was off, is made up for when it is on again.
Persistent=true

[Install]
WantedBy=timers.target
"""
    return {f"{night.name}.service": service, f"{night.name}.timer": timer}


def quoted(word: str) -> str:
    """One word of ExecStart=."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
