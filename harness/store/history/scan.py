"""Which folders lie in a results folder, and what tells that one of them has changed.

A mark is made of the name, the size, the time of change (mtime) and the time that the kernel keeps of it by
itself (ctime) of each record of a folder and of each point's requests. Marks are compared for being equal and
never for being later, so a clock that was set back hides nothing. A time isn't trusted as long as it is less
than `COARSE_S` ago or in the future: a second change could bear the same one, where a file system or a bucket
keeps whole seconds. Such a folder is read once more at the next look.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.plain_text import written
from harness.store import ab_file, night_file, plan_file, thinned, tune_file
from harness.store.history.run_rows import BEGUN

COARSE_S = 3.0

_DATED = re.compile(r"\d{8}T\d{6}Z-")
_MARKED = frozenset(
    {"result.json", tune_file.NAME, plan_file.NAME, ab_file.NAME, night_file.NAME, thinned.NAME}
)


class Seen(NamedTuple):
    """A folder, as it was when it was looked at."""

    path: Path
    mark: str
    settled: bool
    """Whether the mark can be trusted the next time."""
    link: bool = False


def scan(results: Path) -> dict[str, Seen]:
    """The folders of runs, by name; what is none of a run is left out. Raises OSError."""
    now_ns = time.time_ns()
    found: dict[str, Seen] = {}
    with os.scandir(results) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "baselines":
                continue
            if (seen := _look(entry, now_ns)) is not None:
                found[written(Path(entry.name))] = seen
    return found


def _look(entry: os.DirEntry[str], now_ns: int) -> Seen | None:
    path = Path(entry.path)
    if entry.is_symlink():
        return Seen(path, "link", settled=True, link=True)
    if not entry.is_dir():
        return None
    ours = _DATED.match(entry.name) is not None
    content, newest_ns = hashlib.blake2b(digest_size=16), 0
    try:
        for name, stat in sorted(_files(entry.path)):
            ours = True
            if stat is not None:
                line = f"{name!a} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
                content.update(line.encode())
                newest_ns = max(newest_ns, stat.st_mtime_ns, stat.st_ctime_ns)
    except OSError as error:
        return Seen(path, f"unreadable {error.errno}", settled=True)
    settled = newest_ns < now_ns - COARSE_S * 1e9
    return Seen(path, content.hexdigest(), settled) if ours else None


def _files(folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """The files that a mark is made of; others that tell a run's folder without one."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _MARKED:
                yield entry.name, entry.stat(follow_symlinks=False)
            elif entry.name in BEGUN:
                yield entry.name, None
            elif entry.name == "points" and entry.is_dir(follow_symlinks=False):
                yield from _samples(entry.path)


def _samples(points: str) -> Iterator[tuple[str, os.stat_result | None]]:
    with os.scandir(points) as entries:
        for entry in entries:
            try:
                yield f"points/{entry.name}", os.lstat(f"{entry.path}/requests.parquet")
            except OSError:
                yield f"points/{entry.name}", None
