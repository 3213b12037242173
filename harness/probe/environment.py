"""Where a run happens: what a reader needs to judge whether two runs may be compared."""

from __future__ import annotations

import math
import os
import platform
import re
from importlib import metadata
from pathlib import Path

import psutil

from harness import git
from harness.probe import cgroup
from harness.probe import gpus as gpu
from harness.schema.result import Environment
from harness.version import version

PACKAGES = (
    "gevent",
    "geventhttpclient",
    "grpcio",
    "hpack",
    "locust",
    "numpy",
    "nvidia-ml-py",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "pandas",
    "psutil",
    "pyarrow",
    "scipy",
    "tensorrt",
    "tokenizers",
    "torch",
    "transformers",
    "tritonclient",
)
"""Packages whose version can change a figure."""


def environment(
    *,
    server_mode: str,
    server_url: str,
    triton_version: str | None,
    backend: str,
    execution_provider: str | None,
    backend_version: str | None = None,
    provider_options: dict[str, str] | None = None,
    server_image: str | None = None,
    server_command: tuple[str, ...] | None = None,
) -> Environment:
    """The environment of this process, and of the server that the arguments describe."""
    memory_bytes = int(psutil.virtual_memory().total)
    limit_bytes = cgroup.memory_limit_bytes()
    return Environment(
        host=platform.node() or "unknown",
        os=_os_name(),
        kernel=platform.release(),
        cpu=cpu_model(),
        cores=available_cores(),
        memory_bytes=memory_bytes if limit_bytes is None else min(memory_bytes, limit_bytes),
        gpus=gpu.devices(),
        python=platform.python_version(),
        packages=versions(),
        harness_version=version(),
        git_commit=git_commit(Path.cwd()),
        triton_version=triton_version,
        server_mode=server_mode,
        server_url=server_url,
        backend=backend,
        execution_provider=execution_provider,
        backend_version=backend_version,
        provider_options=provider_options,
        server_image=server_image,
        server_command=server_command,
    )


def available_cores() -> int:
    """Cores this process may run on: its affinity, or fewer where a control group has a quota; at least 1.

    A quota of 1.5 cores is 1: what is saturated must not look idle.
    """
    cores = len(os.sched_getaffinity(0))
    quota = cgroup.cpu_quota_cores()
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def host_cores() -> int:
    """Cores of the whole machine, whoever may use them."""
    return psutil.cpu_count() or len(os.sched_getaffinity(0))


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name for itself, e.g. "AMD EPYC 9654 96-Core Processor"."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.machine() or "unknown"


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Versions of those of `packages` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path) -> str | None:
    """The commit that `folder` has checked out, "+dirty" appended if a tracked file differs from it, or
    "+unchecked" if to see that would run what the repository asks for.

    None outside a repository, before its first commit, and without git.
    """
    commit = git.said(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    if _may_run_programs(folder):
        return f"{commit}+unchecked"
    changes = git.said(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return f"{commit}+dirty" if changes else commit


_HARMLESS = re.compile(
    r"(?:branch|user|gc|pull|push|fetch|rebase|color|submodule|lfs|advice|commit|init)\..+"
    r"|remote\..+\.(?:url|fetch|pushurl|tagopt|prune)"
    r"|core\.(?:repositoryformatversion|filemode|bare|logallrefupdates|ignorecase|symlinks|precomposeunicode"
    r"|autocrlf|eol|longpaths)"
)
"""Settings of git by which `git status` runs no other program. Filters and monitors are programs, and so is
what a partial clone fetches its missing parts with."""


def _may_run_programs(folder: Path) -> bool:
    """Whether the repository's own configuration has settings that `git status` may run programs by.

    It came with the folder, whoever made that. The user's own configuration is the user's.
    """
    listed = git.said(folder, "config", "--list", "--show-scope", "--name-only")
    if listed is None:
        return True
    own = (line.partition("\t") for line in listed.lower().splitlines())
    return any(
        scope not in ("system", "global", "command") and not _HARMLESS.fullmatch(name)
        for scope, _, name in own
    )


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
