"""What git says of a folder; nothing where there is no git, no repository, or no answer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def said(folder: Path, *arguments: str, wait_s: float = 10.0) -> str | None:
    """What `git ARGUMENTS` prints in a folder; None where it fails, or takes longer than `wait_s`."""
    # Without optional locks `status` leaves the user's index alone; a hook's variables lead elsewhere.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    own = {name: value for name, value in os.environ.items() if name not in _LEADING_ELSEWHERE}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=wait_s, env=own)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


_LEADING_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"}
