"""Is the machine quiet enough to begin? What works on it besides, and what holds its GPUs back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.analysis.gpu import IDLE
from harness.analysis.host import host_figures
from harness.probe.environment import host_cores
from harness.probe.sampler import Sampler
from harness.schema.samples import Window
from harness.schema.scenario import Validity

LOOK_S = 2.0
"""How long the machine is looked at."""

AGAIN_S = 10.0
"""After so long it is looked at again."""

HOT_C = 80.0
"""A GPU that does nothing and is as hot would soon be held back."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    words: str
    of_a_gpu: bool = False


def wait_until_quiet(
    limits: Validity, wait_s: float, say: Callable[[str], None]
) -> tuple[float, Disturbance | None]:
    """Seconds that it took, at most about `wait_s`, and what disturbs even then; None where nothing does.
    `say` is told what is waited for."""
    began = time.monotonic()
    while True:
        found = disturbance(limits)
        waited_s = time.monotonic() - began
        if found is None or waited_s + AGAIN_S > wait_s:
            return waited_s, found
        say(f"waiting for a quiet machine: {found.words}")
        time.sleep(AGAIN_S)


def disturbance(limits: Validity) -> Disturbance | None:
    """What holds this machine's GPUs back now, or works on it; None where nothing does."""
    return next(_disturbances(limits), None)


def _disturbances(limits: Validity) -> Iterator[Disturbance]:
    with Sampler(tuple, tuple) as sampler:
        time.sleep(LOOK_S)
    names = {gpu.device: f"GPU {gpu.device} ({gpu.name})" for gpu in sampler.gpus}
    for reading in sampler.gpu:
        name = names.get(reading.device, f"GPU {reading.device}")
        if reading.foreign_processes and not limits.foreign_gpu:
            yield Disturbance(f"{reading.foreign_processes[0]} computes on {name}", of_a_gpu=True)
        held_back = [reason for reason in reading.throttle_reasons or () if reason != IDLE]
        if held_back:
            yield Disturbance(f"{name} is held back ({', '.join(held_back)})", of_a_gpu=True)
        if (reading.temperature_c or 0.0) >= HOT_C:
            yield Disturbance(f"{name} is at {reading.temperature_c:g} °C", of_a_gpu=True)
    host, cores = sampler.host, host_cores()
    if len(host) < 2:
        return
    figures = host_figures(host, Window(host[0].at_ns, host[-1].at_ns), 0, cores)
    foreign, stolen = figures.foreign_cpu_cores or 0.0, figures.stolen_cpu_cores or 0.0
    if foreign > limits.foreign_cpu * cores:
        yield Disturbance(f"other processes use {foreign / cores:.0%} of this machine's {cores} cores")
    if stolen > limits.stolen_cpu * cores:
        yield Disturbance(f"the hypervisor gives others {stolen / cores:.0%} of this machine's {cores} cores")
