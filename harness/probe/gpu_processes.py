"""Which of the processes on a GPU are neither the server nor ours.

NVML lists processes by id, and the id may be one of another namespace than ours: in a container some drivers
give the host's, which match nothing here, or something else. So the rule is:

- where none of the server's processes can be seen from here (it is remote), nothing can be told: None;
- an id that /proc knows is foreign, unless it is of the server, of harness, or descends from either;
- an id that /proc doesn't know is foreign as well, unless none of the server's ids is in the list and there
  are no more unknown ones than the server has processes: then they may be the server's own, under the ids
  that another namespace gives them, and it isn't held against the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

import psutil


def foreign(listed: Iterable[int], server: Set[int], others: Set[int]) -> tuple[str, ...] | None:
    """The foreign ones of the `listed` ids as "name (pid)"; None where it can't be told."""
    if not server:
        return None
    ours = server | others
    named: list[str] = []
    unknown: list[str] = []
    server_listed = False
    for pid in dict.fromkeys(listed):
        if pid in ours:
            server_listed |= pid in server
            continue
        try:
            process = psutil.Process(pid)
            name = process.name()
            if not any(parent.pid in ours for parent in process.parents()):
                named.append(f"{name} ({pid})")
        except psutil.Error:
            unknown.append(f"unknown ({pid})")
    if not server_listed and len(unknown) <= len(server):
        unknown = []
    return (*named, *unknown)
