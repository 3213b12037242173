"""`harness doctor`: what is here, what is missing, how to mend it."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from harness.cache import cache_dir
from harness.commands import trial
from harness.console import TerminalConsole, line
from harness.measurement.target import MODEL_REPOSITORY
from harness.model.catalog import CATALOG
from harness.probe import gpus as gpu
from harness.probe.environment import available_cores, cpu_model, versions
from harness.probe.execution_providers import execution_providers
from harness.schema.errors import HarnessError
from harness.schema.frozen import Frozen
from harness.triton import install
from harness.triton.docker import ENGINE, ask

SPACE_GB = 3
SERVE_PORTS = (8000, 8001)
"""What `harness serve` takes unless told otherwise."""


class Finding(Frozen):
    """One thing that was looked at."""

    what: str
    ok: bool | None
    """None: not needed, only told."""
    found: str
    """What is there; or, where something is missing, a sentence with the remedy."""


class Report(Frozen):
    ready: bool
    """Whether `harness run` can work here."""
    findings: tuple[Finding, ...]


def examine() -> Report:
    """Look at everything `harness run` needs, and try what it will do, without downloading anything. What is
    made for that goes again."""
    findings = tuple(_findings())
    return Report(ready=all(f.ok is not False for f in findings), findings=findings)


def show(report: Report) -> None:
    console = TerminalConsole()
    marks = {True: line("ok     ", "green"), False: line("missing", "red"), None: line("info   ", "dim")}
    for finding in report.findings:
        said = Text.assemble(marks[finding.ok], line(f"  {finding.what}: {finding.found}"))
        console.print(said, soft_wrap=True)
    console.print("ready" if report.ready else "not ready: mend what is missing above")


def _findings() -> Iterator[Finding]:
    python = f"{sys.version.split()[0]} at {sys.executable}"
    yield Finding(what="Python", ok=sys.version_info >= (3, 11), found=python)
    yield Finding(what="host", ok=None, found=f"{cpu_model()}, {available_cores()} cores")
    for problem in install.problems():
        yield Finding(what="embedded Triton", ok=False, found=problem)
    if not install.problems():
        fails = trial.triton()
        where = (
            "in the cache"
            if install.WHEEL.present
            else f"downloaded at first use, {install.WHEEL.megabytes} MB"
        )
        found = f"{install.TRITON_VERSION}, {where}" if fails is None else fails
        yield Finding(what="embedded Triton", ok=fails is None, found=found)
    yield _installed("tritonserver", "--server binary runs it", "--server binary needs one")
    yield _docker()
    yield _pip()
    yield _disk()
    yield _tried("results", trial.writable(Path("results"), "--results"), "can be written here")
    yield _tried("model repository", trial.writable(MODEL_REPOSITORY, "--repository"), "can be written here")
    yield _tried("shared memory", trial.shared_memory(), "takes what an instance of a model needs")
    yield _tried("temporary files", trial.temporary(), f"go to {tempfile.gettempdir()}")
    yield _loopback()
    yield _packages()
    for device in gpu.accelerators():
        yield Finding(what="GPU", ok=True if device.usable else None, found=device.description)
    for provider in execution_providers():
        state = "works" if provider.usable else f"can't be used: {provider.reason}"
        needed = True if provider.name == "CPUExecutionProvider" else None
        yield Finding(what=provider.name, ok=provider.usable if needed else None, found=state)
    for name, source in CATALOG.items():
        yield Finding(what=f"model {name}", ok=None, found=source.words)


def _installed(program: str, use: str, need: str) -> Finding:
    found = shutil.which(program)
    return Finding(
        what=program, ok=None, found=f"none on PATH; {need}" if found is None else f"{found}; {use}"
    )


def _docker() -> Finding:
    there = _installed(ENGINE, "--server docker uses it", "--server docker needs it")
    if shutil.which(ENGINE) is None:
        return there
    try:
        version = ask("version", "--format={{.Server.Version}}").strip()
    except HarnessError as error:
        return Finding(what=ENGINE, ok=None, found=f"{shutil.which(ENGINE)}; {error}")
    return Finding(what=ENGINE, ok=None, found=f"{there.found}, engine {version}")


def _pip() -> Finding:
    if importlib.util.find_spec("pip") is None:
        return Finding(what="pip", ok=False, found=f"not in this environment: {sys.executable} -m ensurepip")
    return Finding(what="pip", ok=True, found="fetches the pinned wheels of Triton and the models")


def _tried(what: str, fails: str | None, found: str) -> Finding:
    return Finding(what=what, ok=fails is None, found=found if fails is None else fails)


def _disk() -> Finding:
    if (fails := trial.cache()) is not None:
        return Finding(what="cache", ok=False, found=fails)
    folder = cache_dir()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    found = f"{folder}, {free_gb:.0f} GB free"
    if free_gb < SPACE_GB:
        found += f": needs {SPACE_GB}; make room, or set HARNESS_CACHE to a folder on another disk"
    return Finding(what="cache", ok=free_gb >= SPACE_GB, found=found)


def _loopback() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Finding(
            what="loopback", ok=False, found=f"can't be bound ({error.strerror}): bring up the interface lo"
        )
    taken = [str(port) for port in SERVE_PORTS if _in_use(port)]
    found = "ports can be bound; `harness run` chooses free ones"
    if taken:
        found += (
            f"; {' and '.join(taken)} in use: give `harness serve` others with --http-port and --grpc-port"
        )
    return Finding(what="loopback", ok=True, found=found)


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _packages() -> Finding:
    found = versions()
    export = [name for name in ("torch", "onnx", "onnxscript", "transformers") if name not in found]
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    if export:
        text += f" (without {', '.join(export)} nothing can be exported: pip install 'harness[export]')"
    return Finding(what="packages", ok=None if export else True, found=text)
