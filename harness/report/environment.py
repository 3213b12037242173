"""Where a run happened and who served it, in words."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from harness.analysis.served_on import counted, gpus_served_on
from harness.report.cell import Cell, missing
from harness.report.format import count, memory, number
from harness.schema.result import Environment, GpuEnvironment, RunResult

UNOBSERVED = "not observed"
UNKNOWN = "not known: the run's folder doesn't say it any more"


def ran_on(run: RunResult) -> str:
    """The device that the model ran on: never a GPU that merely was in the machine."""
    where = run.environment
    if where is None:
        return UNKNOWN
    cpu = f"{where.cpu}, {count(where.cores, 'core')}"
    present = counted([gpu.name for gpu in where.gpus if gpu.mig_instance is None])
    provider = where.execution_provider
    if provider is None:
        seen = f"{present} present, " if present else ""
        return f"not known: the server doesn't say which device it used ({seen}{cpu})"
    if provider.startswith("CPU"):
        return f"CPU: {cpu}" + (f" ({present} present and not used)" if present else " (no GPU)")
    return f"GPU: {counted(gpus_served_on(run)) or 'of an unknown kind'} (host: {cpu})"


def served_by(environment: Environment | None) -> str:
    """Triton's version and the backend, the Python-based one never left to be mistaken for NVIDIA's."""
    if environment is None:
        return UNKNOWN
    version = environment.triton_version or "of unknown version"
    return f"Triton {version}, {environment.server_mode}; {backend(environment)}"


def backend(environment: Environment) -> str:
    honest = " (not NVIDIA's C++ backend)" if environment.stands_in else ""
    version = f", version {environment.backend_version}" if environment.backend_version else ""
    return f"{environment.backend}{honest}{version}"


def provider(environment: Environment | None) -> str | None:
    """The execution provider and what it was configured with."""
    if environment is None or environment.execution_provider is None:
        return None
    options = environment.provider_options
    if options is None:
        return f"{environment.execution_provider} (its options are not known)"
    said = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{environment.execution_provider} ({said or 'its default options'})"


def command(environment: Environment) -> str | None:
    """The line that started the server, as a shell would take it."""
    return None if environment.server_command is None else shlex.join(environment.server_command)


GPU_FACTS: tuple[tuple[str, Callable[[GpuEnvironment], Cell]], ...] = (
    ("name", lambda g: Cell(g.name, small=g.uuid)),
    ("memory", lambda g: _cell(g, "memory_bytes", memory)),
    ("driver", lambda g: _cell(g, "driver", str)),
    ("CUDA", lambda g: _cell(g, "cuda_driver", str)),
    ("compute capability", lambda g: _cell(g, "compute_capability", str)),
    ("power cap", lambda g: _power_cap(g)),
    ("clocks", lambda g: _clocks(g)),
    ("ECC", lambda g: _cell(g, "ecc", _on)),
    ("MIG", lambda g: _cell(g, "mig", _on)),
    ("PCIe", lambda g: _pcie(g)),
    ("persistence", lambda g: _cell(g, "persistence", _on)),
    ("compute mode", lambda g: _cell(g, "compute_mode", str)),
    ("VBIOS", lambda g: _cell(g, "vbios", str)),
)
"""What the page shows of each GPU of the machine, in order."""


def _cell(gpu: GpuEnvironment, field: str, words: Callable[[float], str] | Callable[[str], str]) -> Cell:
    value = getattr(gpu, field)
    return missing(gpu.unsupported.get(field, UNOBSERVED)) if value is None else Cell(words(value))


def _on(value: float) -> str:
    return "on" if value else "off"


def _power_cap(gpu: GpuEnvironment) -> Cell:
    if gpu.power_limit_w is None:
        return missing(gpu.unsupported.get("power_limit_w", UNOBSERVED))
    cap, default = f"{number(gpu.power_limit_w)} W", gpu.power_limit_default_w
    if default is None:
        return Cell(cap)
    return Cell(cap, small="the default" if default == gpu.power_limit_w else f"default {number(default)} W")


def _clocks(gpu: GpuEnvironment) -> Cell:
    """The default, or what `nvidia-smi -ac` asked for. NVML doesn't report locked clocks (`-lgc`)."""
    asked, default, most = gpu.application_sm_clock_hz, gpu.default_sm_clock_hz, gpu.sm_clock_max_hz
    up_to = f"up to {_mhz(most)}" if most is not None else ""
    if asked is None:
        why = gpu.unsupported.get("application_sm_clock_hz", UNOBSERVED)
        return Cell(up_to, small=f"application clocks: {why}") if up_to else missing(why)
    memory_hz = gpu.application_memory_clock_hz
    beside = f", memory {_mhz(memory_hz)}" if memory_hz is not None else ""
    if asked == default and memory_hz == gpu.default_memory_clock_hz:
        return Cell("default", small=f"{_mhz(asked)}{beside}{', ' if up_to else ''}{up_to}")
    usual = f"default {_mhz(default)}" if default is not None else "the default is not known"
    return Cell(f"application clocks set to {_mhz(asked)}{beside}", small=usual)


def _mhz(hz: float) -> str:
    return f"{hz / 1e6:,.0f} MHz"


def _pcie(gpu: GpuEnvironment) -> Cell:
    now = _link(gpu.pcie_generation, gpu.pcie_width)
    most = _link(gpu.pcie_generation_max, gpu.pcie_width_max)
    if now is None:
        why = gpu.unsupported.get("pcie_generation") or gpu.unsupported.get("pcie_width") or UNOBSERVED
        return missing(why)
    return Cell(now, small=f"when asked, of {most}" if most is not None and most != now else "")


def _link(generation: int | None, width: int | None) -> str | None:
    return None if generation is None or width is None else f"{generation}.0 ×{width}"
