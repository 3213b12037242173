"""The limits a container or a service unit puts on this process, from both versions of control groups.

Sources: the kernel's "Control Group v2" (cpu.max, cpu.stat, memory.max) and "CFS Bandwidth Control"
(cpu.cfs_quota_us, cpu.stat) documents, and cgroups(7).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def cpu_quota_cores(proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores' worth of time this process may use; None without a limit."""
    quotas = (_quota_cores(group) for group in _groups(proc, mount, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


class Throttling:
    """How long quotas have held back what runs in this process's group, or in one above it that has a quota.

    A group above holds back all that is in it at once, so its time is ours too, if not ours alone.
    """

    def __init__(self, proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")) -> None:
        # found once: this is read several times a second, and mostly there is no quota
        self._files = [g / "cpu.stat" for g in _groups(proc, mount, "cpu") if _quota_cores(g) is not None]

    def cpu_s(self) -> float | None:
        """Seconds since the groups began, each core's apart; None without a quota."""
        total = None
        for file in self._files:
            words = _words(file)
            stat = dict(zip(words[::2], words[1::2], strict=False))
            if "throttled_usec" in stat:  # v2
                total = (total or 0.0) + int(stat["throttled_usec"]) / 1e6
            elif "throttled_time" in stat:  # v1, in nanoseconds
                total = (total or 0.0) + int(stat["throttled_time"]) / 1e9
        return total


def _quota_cores(group: Path) -> float | None:
    limit = _words(group / "cpu.max")  # v2: "max 100000" or "150000 100000"
    if len(limit) != 2:
        limit = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    if len(limit) == 2 and limit[0].isdigit() and int(limit[1]) > 0:  # v1 says -1 for no limit
        return int(limit[0]) / int(limit[1])
    return None


def memory_limit_bytes(proc: Path = Path("/proc/self"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory this process may use, in bytes; None without a limit. v1 says a huge number for none."""
    limits = []
    for group in _groups(proc, mount, "memory"):
        limit = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
        if limit and limit[0].isdigit():
            limits.append(int(limit[0]))
    return min(limits, default=None)


def _groups(proc: Path, mount: Path, controller: str) -> Iterator[Path]:
    """The folders whose limits hold: this process's group and all above it."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if not controllers:
            root = mount  # v2 has one hierarchy
        elif controller in names:
            root = mount / controllers if (mount / controllers).is_dir() else mount / controller
        else:
            continue
        # in a container the path may be the host's, which is not mounted here: the root then holds the limit
        group = root / path.strip("/")
        yield group
        while group != root:
            group = group.parent
            yield group


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
