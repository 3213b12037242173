"""`harness probe`: what the GPUs here do: now, over a while into a file, or for a run led elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.table import Table

from harness.address import Address, is_loopback, reachable, to_listen_on
from harness.commands.progress import Progress
from harness.console import TerminalConsole, cells, line
from harness.probe.gpus import Gpus, recorded
from harness.probe.reader.reader import INTERVAL_S
from harness.probe.service.probe_server import ProbeServer
from harness.report.format import memory, number, percent
from harness.schema.errors import HarnessError, InputError
from harness.schema.frozen import Frozen
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading

LOOK_S = 0.5
"""Between two looks: what is a mean over time needs both."""
RECORD_S = 60.0

UNITS: dict[str, Callable[[float], str]] = {
    "_bytes_per_s": lambda value: f"{memory(value)}/s",
    "_bytes": memory,
    "_hz": lambda value: f"{number(value / 1e6, 4)} MHz",
    "_w": lambda value: f"{number(value)} W",
    "_j": lambda value: f"{number(value)} J",
    "_c": lambda value: f"{number(value)} °C",
}
"""How a value is shown whose name ends so; the name is shown without it."""

SHARES = ("utilization", "sm_activity", "sm_occupancy", "tensor_activity", "dram_activity")


class ProbeView(Frozen):
    """What `harness probe` prints."""

    devices: tuple[GpuEnvironment, ...]
    unavailable: str | None
    """Why nothing can be read; null when at least one GPU answers."""
    readings: tuple[GpuReading, ...]
    problems: tuple[str, ...]


def check(
    record: Path | None, serve: str | None, pids: Sequence[int], for_s: float | None, *, as_json: bool
) -> None:
    """Raises InputError for options that don't go together."""
    if record is not None and serve is not None:
        raise InputError("a recording is made here, and --serve is for a run elsewhere: give one of them")
    if pids and serve is None:
        raise InputError("--pid names the server whose CPU and memory --serve reads: give --serve too")
    if for_s is not None and record is None and serve is None:
        raise InputError("--for-s is how long to --record or --serve: give one of them too")
    if as_json and (record is not None or serve is not None):
        raise InputError("--json is for what is seen now: leave it out with --record and --serve")


def look() -> ProbeView:
    """Every GPU and MIG device now, and what can't be read of each."""
    with Gpus() as gpus:
        first = {(r.device, r.mig_instance): r for r in gpus.read()}
        if first:
            time.sleep(LOOK_S)
        last = gpus.read(everything=True)
        readings = tuple(_both(first.get((r.device, r.mig_instance)), r) for r in last)
        return ProbeView(
            devices=gpus.devices,
            unavailable=gpus.unavailable,
            readings=readings,
            problems=tuple(gpus.problems),
        )


def _both(before: GpuReading | None, now: GpuReading) -> GpuReading:
    """What wasn't due now is as it was half a second ago."""
    if before is None:
        return now
    missing = [f.name for f in fields(now) if getattr(now, f.name) is None]
    return replace(now, **{name: getattr(before, name) for name in missing})


def show(seen: ProbeView) -> None:
    """One table a device, on stdout."""
    console = TerminalConsole()
    if seen.unavailable is not None:
        console.print(f"no GPU can be read: {seen.unavailable}", soft_wrap=True)
    readings = {(r.device, r.mig_instance): r for r in seen.readings}
    for device in seen.devices:
        table = Table(
            box=None, title=_title(device), title_justify="left", title_style="bold", show_header=False
        )
        now = readings.get((device.device, device.mig_instance))
        for heading, record in (("", device), ("now", now)):
            if heading and record is not None:
                table.add_row(line(heading, "bold"))
            for name, value in _values(record):
                why = device.unsupported.get(name, "")
                text = _text(name, value) if value is not None else f"–  {why}".rstrip()
                table.add_row(*cells([_label(name), text]))
        console.print(table)
    for problem in seen.problems:
        console.print(problem, soft_wrap=True)


def _title(device: GpuEnvironment) -> str:
    instance = "" if device.mig_instance is None else f", MIG device {device.mig_instance}"
    return f"GPU {device.device}{instance}"


_LEFT_OUT = ("device", "mig_instance", "at_ns", "unsupported", "foreign_processes")


def _values(record: GpuEnvironment | GpuReading | None) -> list[tuple[str, object]]:
    if record is None:
        return []
    names = (
        GpuEnvironment.model_fields
        if isinstance(record, GpuEnvironment)
        else (f.name for f in fields(record))
    )
    return [(name, getattr(record, name)) for name in names if name not in _LEFT_OUT]


def _label(name: str) -> str:
    unit = next((unit for unit in UNITS if name.endswith(unit)), "")
    return name.removesuffix(unit).replace("_", " ")


def _text(name: str, value: object) -> str:
    if name == "processes" and isinstance(value, tuple):
        return ", ".join(f"{p.name or 'unknown'} ({p.pid})" for p in value) or "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if name in SHARES and isinstance(value, float):
        return percent(value)
    shown = next((words for unit, words in UNITS.items() if name.endswith(unit)), None)
    return shown(value) if shown is not None and isinstance(value, int | float) else str(value)


def record(file: Path, for_s: float | None) -> None:
    """Write what the GPUs' driver answers for a while to `file`. Raises HarnessError."""
    progress = Progress()
    with recorded(file) as gpus:
        if gpus.unavailable is not None:
            raise HarnessError(f"there is nothing to record: {gpus.unavailable}")
        seconds = RECORD_S if for_s is None else for_s
        progress.say(f"recording {seconds:g} s of what the driver answers to {file}")
        began = time.monotonic()
        try:
            while time.monotonic() < began + seconds:
                gpus.read()
                time.sleep(INTERVAL_S - (time.monotonic() - began) % INTERVAL_S)
        except KeyboardInterrupt:
            progress.say("stopped; what was recorded until then is kept")


def serve(where: str, pids: Sequence[int], for_s: float | None) -> None:
    """Serve readings until Ctrl-C, SIGTERM or `for_s` seconds. `where`: "port" or "host:port"."""
    host, port = to_listen_on("--serve", where)
    progress = Progress()
    server = ProbeServer(host, port, pids)
    began = time.monotonic()
    until: Callable[[], bool] = lambda: for_s is not None and time.monotonic() > began + for_s  # noqa: E731
    try:
        with Gpus() as gpus:
            seen = gpus.unavailable or ", ".join(d.name for d in gpus.devices)
        at = Address(reachable(host), server.port)
        progress.say(f"ready at {at}: harness run SCENARIO --url URL --probe {at}")
        progress.say(f"it sees {seen}")
        if not is_loopback(host):
            progress.say(
                f"whoever reaches {host} can read what its GPUs, server and load do: it asks for no password "
                "(docs/threats.md says what to do about it)"
            )
        progress.say("Ctrl-C stops it")
        server.serve(until)
    except KeyboardInterrupt:
        progress.say("stopping")
    finally:
        server.close()
