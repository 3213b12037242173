"""Which GPUs a run's server computed on, as far as that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.address import host_of, is_loopback
from harness.analysis.gpu import may_use
from harness.schema.result import Environment, RunResult


def is_elsewhere(where: Environment) -> bool:
    """Whether the server ran on another machine than the one that `where` describes."""
    return where.server_mode == "remote" and not is_loopback(host_of(where.server_url))


def gpus_served_on(run: RunResult) -> list[str]:
    """Names of the GPUs that some point may have used; empty where the server is elsewhere and unwatched.

    This machine's GPUs are not those of a server elsewhere, so there only what a probe there saw counts.
    """
    where, points = run.environment, run.points
    if where is None:
        return []
    if is_elsewhere(where):
        watched = [p for p in points if p.gpu_probe is not None and p.gpu_probe.elsewhere]
        there = {
            g.device: g.name
            for p in watched
            for g in p.gpu or ()
            if g.mig_instance is None and may_use(p.point, g.device, p.execution_provider)
        }
        return list(there.values())
    return [
        gpu.name
        for gpu in where.gpus
        if gpu.mig_instance is None
        and (not points or any(may_use(p.point, gpu.device, p.execution_provider) for p in points))
    ]


def counted(names: Iterable[str]) -> str:
    """ "2 × NVIDIA H100 80GB HBM3, NVIDIA L4"."""
    return ", ".join(name if n == 1 else f"{n} × {name}" for name, n in Counter(names).items())
