"""An ONNX session called directly, again and again, in a process of its own: what Triton is compared with.

`python -m harness.calibration.direct JOB` reads a `DirectJob` and prints a `Direct`. Inputs lie in host
memory and outputs are brought back there, as a server has to do it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import terminal
from harness.child_process import last_line
from harness.interpreter import python
from harness.schema.errors import HarnessError
from harness.schema.frozen import Frozen
from harness.schema.gpu_check import Direct
from harness.schema.tensors import Tensors

GRACE_S = 120.0
"""For loading the model, beyond the time that is measured."""


class DirectJob(Frozen):
    """What the process does."""

    onnx_path: str
    provider: str
    options: dict[str, str]
    threads: int
    payloads: tuple[str, ...]
    """.npz files with the inputs of one call each; they are used in turn."""
    warmup_s: float
    seconds: float


def direct(
    onnx: Path,
    payloads: Sequence[Tensors],
    *,
    provider: str,
    options: dict[str, str],
    threads: int,
    warmup_s: float,
    seconds: float,
) -> Direct:
    """Measure it. Raises HarnessError where ONNX Runtime can't run the model on that provider."""
    with tempfile.TemporaryDirectory(prefix="harness-direct-") as scratch:
        files = []
        for number, tensors in enumerate(payloads):
            files.append(Path(scratch) / f"{number}.npz")
            np.savez(files[-1], allow_pickle=False, **tensors)
        job = DirectJob(
            onnx_path=str(onnx),
            provider=provider,
            options=options,
            threads=threads,
            payloads=tuple(map(str, files)),
            warmup_s=warmup_s,
            seconds=seconds,
        )
        file = Path(scratch) / "job.json"
        file.write_text(job.model_dump_json(), encoding="utf-8")
        command = python("-m", "harness.calibration.direct", str(file))
        limit_s = warmup_s + seconds + GRACE_S
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise HarnessError(
                f"the ONNX session called directly gave no figure within {limit_s:g} s: see whether {onnx} "
                f"runs on {provider}"
            ) from error
    if done.returncode != 0:
        said = last_line(done.stderr)
        raise HarnessError(
            f"the ONNX session can't be called directly on {provider} ({said}): see `harness doctor` for "
            "what the provider lacks"
        )
    return Direct.model_validate_json(done.stdout.splitlines()[-1])


def _called(job: DirectJob) -> Direct:
    session = _session(job)
    feeds = [_inputs(Path(file)) for file in job.payloads]
    rows = [len(next(iter(feed.values()))) for feed in feeds]
    _repeated(session, feeds, job.warmup_s)
    took_s = _repeated(session, feeds, job.seconds)
    inferences = sum(rows[call % len(rows)] for call in range(len(took_s)))
    return Direct(
        provider=job.provider,
        calls=len(took_s),
        inferences_per_s=inferences / sum(took_s),
        p50_s=float(np.median(took_s)),
    )


def _session(job: DirectJob) -> Any:
    import onnxruntime

    if job.provider != "CPUExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.onnx_path, options, providers=[(job.provider, job.options)])
    if session.get_providers()[0] != job.provider:
        raise HarnessError(f"ONNX Runtime would run it on {session.get_providers()[0]}, not {job.provider}")
    return session


def _repeated(session: Any, feeds: Sequence[Tensors], seconds: float) -> list[float]:
    """How long each call took; at least one."""
    took_s: list[float] = []
    began = last = time.perf_counter()
    while not took_s or last - began < seconds:
        session.run(None, feeds[len(took_s) % len(feeds)])
        now = time.perf_counter()
        took_s.append(now - last)
        last = now
    return took_s


def _inputs(file: Path) -> Tensors:
    with np.load(file, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


if __name__ == "__main__":
    try:
        terminal.print_json(_called(DirectJob.model_validate_json(Path(sys.argv[1]).read_text("utf-8"))))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
