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
from pathlib import Path
from typing import NamedTuple

from harness.plain_text import written
from harness.store import ab_file, bisect_file, compare_file, night_file, plan_file, thinned, tune_file
from harness.store.history.run_rows import BEGUN

COARSE_S = 3.0

_DATED = re.compile(r"\d{8}T\d{6}Z-")
_MARKED = frozenset(
    {"result.json", tune_file.NAME, plan_file.NAME, ab_file.NAME, night_file.NAME, thinned.NAME}
)


class Seen(NamedTuple):
    """A folder, as it was when it was looked at."""

    path: str
    mark: str
    settled: bool
    """Whether the mark can be trusted the next time."""
    link: bool = False


def scan(results: Path) -> dict[str, Seen]:
    """The folders of runs, by name; what is none of a run is left out. Raises OSError.

    Ten thousand are looked at in half a second, hence text and no objects.
    """
    trusted_ns = time.time_ns() - int(COARSE_S * 1e9)
    found: dict[str, Seen] = {}
    with os.scandir(results) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name == "baselines":
                continue
            if (seen := _look(entry, trusted_ns)) is not None:
                found[name if name.isascii() else written(Path(name))] = seen
    return found


def _look(entry: os.DirEntry[str], trusted_ns: int) -> Seen | None:
    path = entry.path
    if entry.is_symlink():
        return Seen(path, "link", settled=True, link=True)
    if not entry.is_dir():
        return None
    try:
        files = _files(path)
    except OSError as error:
        return Seen(path, f"unreadable {error.errno}", settled=True)
    if files is None and (_DATED.match(entry.name) is None or _is_of_several(path)):
        return None
    files = sorted(files or ())
    newest_ns = max((max(mtime_ns, ctime_ns) for _, _, mtime_ns, ctime_ns in files), default=0)
    mark = hashlib.blake2b(ascii(files).encode(), digest_size=16).hexdigest()
    return Seen(path, mark, settled=newest_ns < trusted_ns)


def _is_of_several(path: str) -> bool:
    """Whether it is a comparison of runs, or of commits, that are listed by themselves or not at all."""
    return any(os.path.lexists(f"{path}/{name}") for name in (bisect_file.NAME, compare_file.NAME))


_File = tuple[str, int, int, int]
"""Its name, size, mtime and ctime."""


def _files(folder: str) -> list[_File] | None:
    """The files that a mark is made of; None where nothing tells that it is a run's folder."""
    found: list[_File] = []
    ours = False
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name in _MARKED:
                stat = entry.stat(follow_symlinks=False)
                found.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            elif name == "points" and entry.is_dir(follow_symlinks=False):
                ours = True
                found += _samples(entry.path)
            elif name in BEGUN:
                ours = True
    return found if ours or found else None


def _samples(points: str) -> list[_File]:
    found: list[_File] = []
    with os.scandir(points) as entries:
        for entry in entries:
            try:
                stat = os.lstat(f"{entry.path}/requests.parquet")
            except OSError:
                continue
            found.append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return found
