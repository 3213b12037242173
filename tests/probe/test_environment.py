"""The environment of this very machine, checked against other ways to ask for it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.probe import cgroup
from harness.probe.environment import available_cores, cpu_model, environment, git_commit, versions
from harness.probe.execution_providers import _reason, execution_providers
from harness.schema.result import Environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_environment_of_this_process_is_whole_and_survives_json() -> None:
    here = environment(
        server_mode="embedded",
        server_url="http://127.0.0.1:8000",
        triton_version="2.51.0",
        backend="onnxruntime on Triton's Python backend",
        execution_provider="CPUExecutionProvider",
    )
    assert Environment.model_validate_json(here.model_dump_json()) == here
    assert here.host == platform.node()
    assert here.kernel == os.uname().release
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert here.os and here.cpu
    assert 1 <= here.cores <= len(os.sched_getaffinity(0))
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert 0 < here.memory_bytes <= total_kib * 1024
    assert here.triton_version == "2.51.0"
    assert here.harness_version == harness.__version__


def test_packages_that_are_absent_are_left_out() -> None:
    import numpy

    found = versions(("numpy", "a-package-that-nobody-has"))
    assert found == {"numpy": numpy.__version__}


def test_cores_follow_the_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_cpu_model_is_the_one_the_kernel_names(tmp_path: Path) -> None:
    said = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9654: 96-Core Processor\nflags\t: fpu\n"
    (tmp_path / "cpuinfo").write_text(said)
    assert cpu_model(tmp_path / "cpuinfo") == "AMD EPYC 9654: 96-Core Processor"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    assert cpu_model(tmp_path / "cpuinfo") == platform.machine()
    assert cpu_model(tmp_path / "absent") == platform.machine()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_limits_of_control_groups_version_2_hold_from_the_whole_path(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "cgroup", "0::/user.slice/job\n")
    mount = tmp_path / "fs"
    write(mount / "user.slice" / "job" / "cpu.max", "max 100000\n")
    write(mount / "user.slice" / "cpu.max", "350000 100000\n")
    write(mount / "user.slice" / "job" / "memory.max", "1000000\n")
    write(mount / "user.slice" / "memory.max", "max\n")
    assert cgroup.cpu_quota_cores(tmp_path / "proc", mount) == 3.5
    assert cgroup.memory_limit_bytes(tmp_path / "proc", mount) == 1_000_000


def test_limits_of_control_groups_version_1_in_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "cgroup", "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n")
    mount = tmp_path / "fs"
    write(mount / "cpu,cpuacct" / "cpu.cfs_quota_us", "150000\n")
    write(mount / "cpu,cpuacct" / "cpu.cfs_period_us", "100000\n")
    write(mount / "memory" / "memory.limit_in_bytes", "2000000\n")
    assert cgroup.cpu_quota_cores(tmp_path / "proc", mount) == 1.5
    assert cgroup.memory_limit_bytes(tmp_path / "proc", mount) == 2_000_000


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "cgroup", "4:cpu:/\n0::/\n")
    mount = tmp_path / "fs"
    write(mount / "cpu" / "cpu.cfs_quota_us", "-1\n")
    write(mount / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(mount / "cpu.max", "max 100000\n")
    assert cgroup.cpu_quota_cores(tmp_path / "proc", mount) is None
    assert cgroup.memory_limit_bytes(tmp_path / "proc", mount) is None
    assert cgroup.cpu_quota_cores(tmp_path / "absent", mount) is None


def test_throttled_time_of_version_2_is_that_of_every_group_with_a_quota(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "cgroup", "0::/user.slice/job\n")
    mount = tmp_path / "fs"
    write(mount / "user.slice" / "job" / "cpu.max", "50000 100000\n")
    write(mount / "user.slice" / "job" / "cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec 1500000\n")
    write(mount / "user.slice" / "cpu.max", "100000 100000\n")
    write(mount / "user.slice" / "cpu.stat", "throttled_usec 250000\n")
    write(mount / "cpu.stat", "throttled_usec 99000000\n")
    throttling = cgroup.Throttling(tmp_path / "proc", mount)
    assert throttling.cpu_s() == 1.75
    write(mount / "user.slice" / "cpu.stat", "throttled_usec 350000\n")
    assert throttling.cpu_s() == 1.85


def test_throttled_time_of_version_1_and_none_without_a_quota(tmp_path: Path) -> None:
    write(tmp_path / "proc" / "cgroup", "4:cpu:/\n")
    mount = tmp_path / "fs"
    write(mount / "cpu" / "cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 2500000000\n")
    write(mount / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(mount / "cpu" / "cpu.cfs_quota_us", "-1\n")
    assert cgroup.Throttling(tmp_path / "proc", mount).cpu_s() is None
    write(mount / "cpu" / "cpu.cfs_quota_us", "150000\n")
    assert cgroup.Throttling(tmp_path / "proc", mount).cpu_s() == 2.5
    assert cgroup.Throttling(tmp_path / "absent", mount).cpu_s() is None


def test_the_commit_is_git_s_own_and_says_when_files_differ_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert git_commit(tmp_path) is None
    write(tmp_path / "file", "one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(tmp_path) == commit
    write(tmp_path / "results" / "untracked", "new")
    assert git_commit(tmp_path) == commit
    assert git_commit(tmp_path / "results") == commit
    write(tmp_path / "file", "two")
    assert git_commit(tmp_path) == f"{commit}+dirty"


@pytest.mark.parametrize(
    ("setting", "attributes"),
    [
        ("core.fsmonitor", ""),
        ("filter.theirs.clean", "* filter=theirs\n"),
        ("include.path", ""),
        ("remote.origin.uploadpack", ""),
    ],
)
def test_a_folder_that_was_sent_has_git_run_nothing(tmp_path: Path, setting: str, attributes: str) -> None:
    """Its configuration may name programs, which `git status` runs."""
    git(tmp_path, "init", "--quiet")
    write(tmp_path / "file", "one")
    write(tmp_path / ".gitattributes", attributes)
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    program = tmp_path / "program"
    write(program, f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    if setting == "include.path":
        write(tmp_path / ".git" / "more", f"[core]\n\tfsmonitor = {program}\n")
        git(tmp_path, "config", setting, "more")
    elif setting == "remote.origin.uploadpack":  # a partial clone, of which a part is missing
        for name, value in (
            *(("core.repositoryformatversion", "1"), ("extensions.partialclone", "origin")),
            *(("remote.origin.promisor", "true"), ("remote.origin.url", str(tmp_path))),
        ):
            git(tmp_path, "config", name, value)
        git(tmp_path, "config", setting, str(program))
        tree = git(tmp_path, "rev-parse", "HEAD^{tree}")
        (tmp_path / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    else:
        git(tmp_path, "config", setting, str(program))
    write(tmp_path / "file", "two")
    assert git_commit(tmp_path) == f"{commit}+unchecked"
    assert not (tmp_path / "ran").exists()
    subprocess.run(["git", "-C", tmp_path, "status"], check=False, capture_output=True)
    assert (tmp_path / "ran").exists(), "that is what it would have run"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "one")
    assert git_commit(tmp_path) is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None


def test_the_cpu_provider_is_usable_and_cuda_only_with_a_driver() -> None:
    from harness.probe.gpus import availability

    providers = {p.name: p for p in execution_providers()}
    assert providers["CPUExecutionProvider"].usable
    assert providers["CPUExecutionProvider"].reason is None
    cuda = providers.get("CUDAExecutionProvider")
    if cuda is None or availability() is None:
        pytest.skip("this machine has a GPU, or an ONNX Runtime without CUDA")
    assert not cuda.usable
    assert cuda.reason


@pytest.mark.parametrize(
    ("stderr", "returncode", "reason"),
    [
        (
            "\x1b[1;31m2026 [E:onnxruntime] Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
            "/site/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object "
            "file: No such file or directory\n\x1b[m",
            0,
            "the library libcublasLt.so.13 was not found",
        ),
        (
            "[E:onnxruntime] CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; "
            "GPU=0 ; hostname=x\n",
            0,
            "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version",
        ),
        ("", -6, "the process that tried it was killed by SIGABRT"),
        ("", 0, "ONNX Runtime used another one and said nothing"),
        ("Traceback\nImportError: no numpy\n", 1, "ImportError: no numpy"),
    ],
)
def test_the_reason_is_taken_out_of_onnx_runtime_s_log(stderr: str, returncode: int, reason: str) -> None:
    assert _reason(stderr, returncode) == reason
