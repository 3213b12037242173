"""What the page and the tables show of the GPUs at a point: each figure in words, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from harness.analysis.gpu import UNREPORTED, may_use
from harness.analysis.window import mean
from harness.report.cell import Cell, missing
from harness.report.format import count, memory, number, percent
from harness.schema.result import GpuFigures, PointResult

Group = Literal["activity", "energy", "state"]


@dataclass(frozen=True, slots=True)
class GpuFact:
    """One figure of a GPU. `brief` ones stand in the table of all points as well."""

    group: Group
    title: str
    unit: str
    field: str
    words: Callable[[Any], str]
    brief: bool = False
    numeric: bool = True

    def cell(self, gpu: GpuFigures) -> Cell:
        value = getattr(gpu, self.field)
        if value is None:
            return missing(gpu.unsupported.get(self.field, UNREPORTED))
        return Cell(self.words(value), order=value if self.numeric else None)


def _mega(value: float) -> str:
    return number(value / 1e6)


def _listed(nothing: str) -> Callable[[tuple[str, ...]], str]:
    return lambda names: ", ".join(names) or nothing


FACTS = (
    GpuFact("activity", "utilization", "", "utilization_mean", percent, brief=True),
    GpuFact("activity", "SM activity", "", "sm_activity_mean", percent, brief=True),
    GpuFact("activity", "SM occupancy", "", "sm_occupancy_mean", percent),
    GpuFact("activity", "tensor activity", "", "tensor_activity_mean", percent, brief=True),
    GpuFact("activity", "memory bandwidth", "", "dram_activity_mean", percent, brief=True),
    GpuFact("activity", "PCIe, from the GPU", "MB/s", "pcie_tx_bytes_per_s_mean", _mega),
    GpuFact("activity", "PCIe, to the GPU", "MB/s", "pcie_rx_bytes_per_s_mean", _mega),
    GpuFact("energy", "power", "W", "power_w_mean", number, brief=True),
    GpuFact("energy", "idle power", "W", "idle_power_w", number),
    GpuFact("energy", "energy", "J", "energy_j", number),
    GpuFact("energy", "energy, by power readings", "J", "energy_j_by_power", number),
    GpuFact("energy", "energy an inference", "J", "energy_j_per_inference", number, brief=True),
    GpuFact("energy", "idle share", "J", "idle_energy_j_per_inference", number, brief=True),
    GpuFact("state", "SM clock", "MHz", "sm_clock_hz_mean", _mega, brief=True),
    GpuFact("state", "memory clock", "MHz", "memory_clock_hz_mean", _mega),
    GpuFact("state", "hottest", "°C", "temperature_c_max", number, brief=True),
    GpuFact("state", "throttled by", "", "throttle_reasons", _listed("nothing"), brief=True, numeric=False),
    GpuFact("state", "memory, most", "", "memory_bytes_max", memory, brief=True),
    GpuFact("state", "memory of the server, most", "", "server_memory_bytes_max", memory, brief=True),
    GpuFact("state", "uncorrected memory errors", "", "ecc_errors", str),
    GpuFact("state", "other processes", "", "foreign_processes", _listed("none"), brief=True, numeric=False),
)


_SOURCES = {
    "nvml": "NVML",
    "remote probe": "a probe on the server's machine",
    "triton metrics": "Triton's metrics",
}


def probe_words(point: PointResult) -> str:
    """Who read the GPUs, how often, and what that cost; empty where nothing did."""
    probe = point.gpu_probe
    if probe is None:
        return ""
    source = " and ".join(_SOURCES.get(each, each) for each in probe.source.split(", "))
    cost = "" if probe.cpu_cores is None else f", for {percent(probe.cpu_cores)} of a core"
    each = f"{number(probe.interval_s * 1e3)} ms"
    return f"Read by {source}: {count(probe.readings, 'reading')}, one each {each}{cost}."


def sm_activity(point: PointResult) -> Cell:
    """The mean over the GPUs that the point may use."""
    return _over(_used(point), "sm_activity_mean", mean, percent)


def utilization(point: PointResult) -> Cell:
    return _over(_used(point), "utilization_mean", mean, percent)


def power(point: PointResult) -> Cell:
    """The power of all GPUs that the point may use, together."""
    return _over(_whole(point), "power_w_mean", _sum, number)


def energy(point: PointResult) -> Cell:
    """The energy of an inference on all GPUs that the point may use; below it, its idle share."""
    gpus = _whole(point)
    cell = _over(gpus, "energy_j_per_inference", _sum, number)
    idle = _over(gpus, "idle_energy_j_per_inference", _sum, number)
    if cell.why or idle.why:
        return cell
    return Cell(cell.text, small=f"idle {idle.text}", order=cell.order)


def energy_line(point: PointResult) -> str:
    """ "0.0412 J an inference on 2 GPUs, idle share 0.0098 J"; empty where it isn't known."""
    cell = energy(point)
    if cell.why:
        return ""
    on = count(len(_whole(point)), "GPU")
    idle = f", idle share {cell.small.removeprefix('idle ')} J" if cell.small else ""
    return f"{cell.text} J an inference on {on}{idle}"


def used_any(point: PointResult) -> bool:
    return bool(_used(point))


def _used(point: PointResult) -> list[GpuFigures]:
    return [gpu for gpu in point.gpu or () if may_use(point.point, gpu.device, point.execution_provider)]


def _whole(point: PointResult) -> list[GpuFigures]:
    """The GPUs without their MIG devices, whose power is the whole GPU's."""
    return [gpu for gpu in _used(point) if gpu.mig_instance is None]


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where one of the values is."""
    known = list(values)
    return None if None in known else sum(v for v in known if v is not None)


def _over(
    gpus: list[GpuFigures],
    field: str,
    together: Callable[[Iterable[float | None]], float | None],
    words: Callable[[float], str],
) -> Cell:
    if not gpus:
        return missing("the point used no GPU")
    value = together(getattr(gpu, field) for gpu in gpus)
    if value is None:
        lacking = next(gpu for gpu in gpus if getattr(gpu, field) is None)
        return missing(lacking.unsupported.get(field, UNREPORTED))
    return Cell(words(value), order=value)
