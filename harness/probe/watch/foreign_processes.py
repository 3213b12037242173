"""Which of the processes on a GPU are neither the server nor ours.

A driver lists processes by id, and the id may be one of another namespace than ours: in a container some
drivers give the host's, which match nothing here, or something else. So the rule is:

- where none of the server's processes can be seen from here (it is remote), nothing can be told: None;
- an id that /proc knows is foreign, unless it is of the server, of harness, or descends from either;
- an id that /proc doesn't know is foreign as well, unless none of the server's ids is in the list and there
  are no more unknown ones than the server has processes: then they may be the server's own, under the ids
  that another namespace gives them, and it isn't held against the run.

The judgement comes after the fact, when all of the server's and of harness's processes are known; name and
ancestors of a process are noted at once, because it may be gone by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

import psutil

from harness.probe.reader.spool import ProcessInfo
from harness.schema.samples import GpuProcess, GpuReading


def process_info(pid: int) -> ProcessInfo | None:
    """What /proc says of a process now; None where it knows none of this id."""
    try:
        process = psutil.Process(pid)
        return ProcessInfo(pid, process.name(), tuple(parent.pid for parent in process.parents()))
    except psutil.Error:
        return None


def judged(
    readings: Iterable[GpuReading], known: Mapping[int, ProcessInfo], server: Set[int], others: Set[int]
) -> list[GpuReading]:
    """The readings, with the foreign ones of the processes that each lists, and without harness's own: it has
    memory on a GPU where it shares that with the server."""
    return [
        r
        if r.processes is None
        else replace(
            r,
            processes=tuple(process for process in r.processes if process.pid not in others),
            foreign_processes=foreign(r.processes, known, server, others),
        )
        for r in readings
    ]


def foreign(
    listed: Iterable[GpuProcess], known: Mapping[int, ProcessInfo], server: Set[int], others: Set[int]
) -> tuple[str, ...] | None:
    """The foreign ones of the `listed` as "name (pid)"; None where it can't be told.

    `known` are those that /proc knew, `server` and `others` the server's and harness's own ids.
    """
    if not server:
        return None
    known_ids = server | others
    named: list[str] = []
    unknown: list[str] = []
    server_listed = False
    for pid in dict.fromkeys(process.pid for process in listed):
        if pid in known_ids:
            server_listed |= pid in server
        elif (process := known.get(pid)) is None:
            unknown.append(f"unknown ({pid})")
        elif known_ids.isdisjoint(process.ancestors):
            named.append(f"{process.name} ({pid})")
    if not server_listed and len(unknown) <= len(server):
        unknown = []
    return (*named, *unknown)
