"""What the GPUs do, through NVML. Source: NVIDIA's "NVML API Reference", device and system queries.

pynvml loads the driver's `libnvidia-ml.so.1` with the dynamic linker's usual search, so where there is no
driver nothing is observed, and `availability` says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

from harness.probe.gpu_processes import foreign
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading

T = TypeVar("T")

CLOCK_EVENT_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's bits under the names that `nvidia-smi --query-gpu=clocks_event_reasons.*` gives them."""

PROCESSES_INTERVAL_NS = 1_000_000_000
"""How often the processes on a GPU are listed; readings in between carry the last list."""

_UNSUPPORTED = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
_LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One line for `harness doctor`: a GPU that can be used, or why there is none."""

    usable: bool
    description: str


def availability() -> str | None:
    """None when at least one GPU can be read, else the reason in words."""
    with Gpus() as gpus:
        return gpus.unavailable


def devices() -> tuple[GpuEnvironment, ...]:
    """The GPUs' identity, in NVML's order (PCI bus); empty where none can be read."""
    with Gpus() as gpus:
        return gpus.devices


def accelerators() -> list[Accelerator]:
    """Every GPU, or a single entry that is not usable and says why."""
    with Gpus() as gpus:
        if gpus.unavailable is not None:
            return [Accelerator(usable=False, description=gpus.unavailable)]
        return [Accelerator(usable=True, description=_described(device)) for device in gpus.devices]


class Gpus:
    """An open NVML. Never raises: what can't be read is None, and `problems` says what went wrong.

    A GPU that is lost is read as all None once and is then left out, while the others go on.
    """

    unavailable: str | None
    """Why nothing can be read, in words; None when at least one GPU answers."""
    devices: tuple[GpuEnvironment, ...]
    problems: list[str]

    def __init__(self) -> None:
        self.unavailable = None
        self.devices = ()
        self.problems = []
        self._open = False
        self._live: dict[int, _Device] = {}

    def __enter__(self) -> Gpus:
        try:
            pynvml.nvmlInit()
            self._open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.unavailable = _no_gpu_because(error)
            if error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:  # a driver that is there should work
                self.problems.append(self.unavailable)
            return self
        for index in range(count):
            try:
                self._live[index] = _Device(index, pynvml.nvmlDeviceGetHandleByIndex(index))
            except pynvml.NVMLError as error:
                self.problems.append(f"GPU {index} can't be opened: NVML says {str(error)!r}")
        if not self._live:
            self.unavailable = "; ".join(self.problems) or "the NVIDIA driver runs, but it lists no GPU"
            return self
        self.devices = tuple(device.identity() for device in self._live.values())
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError as error:
                self.problems.append(f"NVML could not be closed: {error}")

    def read(self, server: Set[int] = frozenset(), others: Set[int] = frozenset()) -> tuple[GpuReading, ...]:
        """One reading a GPU that is still there; empty where there is none.

        `server` are the ids of the server's processes, `others` those that don't count as foreign either.
        """
        readings = []
        for device in tuple(self._live.values()):
            reading = device.read(server, others)
            readings.append(reading)
            if device.lost:
                del self._live[device.index]
                self.problems.append(
                    f"GPU {device.index} was lost (NVML: {device.lost}) and is observed no more: "
                    "see `dmesg` for its Xid error"
                )
        return tuple(readings)


class _Device:
    """One GPU, and which of its queries the driver has turned down."""

    def __init__(self, index: int, handle: Any) -> None:
        self.index = index
        self.lost: str | None = None
        self._handle = handle
        self._unsupported: set[str] = set()
        self._processes: list[int] | None = None
        self._processes_due_ns = 0

    def read(self, server: Set[int], others: Set[int]) -> GpuReading:
        handle = self._handle
        at_ns = time.monotonic_ns()
        # the counter first: it is the one value that is read off at a time
        energy = self._ask("energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
        utilization = self._ask("utilization", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        memory = self._ask("memory", lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).used))
        power = self._ask("power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
        temperature = self._ask("temperature", lambda: _temperature_c(handle))
        sm_clock = self._ask("sm clock", lambda: _clock_hz(handle, pynvml.NVML_CLOCK_SM))
        memory_clock = self._ask("memory clock", lambda: _clock_hz(handle, pynvml.NVML_CLOCK_MEM))
        reasons = self._ask("clock event reasons", lambda: _reasons(_reasons_mask(handle)))
        if at_ns >= self._processes_due_ns:
            self._processes = self._ask("processes", lambda: _compute_processes(handle))
            self._processes_due_ns = at_ns + PROCESSES_INTERVAL_NS
        if self.lost:  # what was read before the GPU went is no whole reading
            return GpuReading(at_ns, self.index, None, None, None, None, None, None, None, None)
        return GpuReading(
            at_ns=at_ns,
            device=self.index,
            utilization=utilization,
            memory_bytes=memory,
            power_w=power,
            energy_j=energy,
            temperature_c=temperature,
            sm_clock_hz=sm_clock,
            memory_clock_hz=memory_clock,
            throttle_reasons=reasons,
            foreign_processes=None if self._processes is None else foreign(self._processes, server, others),
        )

    def identity(self) -> GpuEnvironment:
        handle = self._handle
        ask = self._ask
        return GpuEnvironment(
            device=self.index,
            name=ask("name", lambda: _text(pynvml.nvmlDeviceGetName(handle))) or "unknown GPU",
            uuid=ask("uuid", lambda: _text(pynvml.nvmlDeviceGetUUID(handle))) or f"unknown-{self.index}",
            memory_bytes=ask("total memory", lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)),
            driver=ask("driver", lambda: _text(pynvml.nvmlSystemGetDriverVersion())),
            cuda_driver=ask("cuda driver", lambda: _cuda(pynvml.nvmlSystemGetCudaDriverVersion())),
            power_limit_w=ask("power limit", lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3),
            persistence=ask("persistence", lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(handle))),
            ecc=ask("ecc", lambda: bool(pynvml.nvmlDeviceGetEccMode(handle)[0])),
            mig=ask("mig", lambda: bool(pynvml.nvmlDeviceGetMigMode(handle)[0])),
        )

    def _ask(self, what: str, query: Callable[[], T]) -> T | None:
        """The answer, or None. A query that isn't supported is not asked again; other errors may pass."""
        if self.lost or what in self._unsupported:
            return None
        try:
            return query()
        except pynvml.NVMLError as error:
            if error.value in _UNSUPPORTED:
                self._unsupported.add(what)
            elif error.value in _LOST:
                self.lost = str(error)
            return None


def _temperature_c(handle: Any) -> float:
    try:
        return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    # the call above is deprecated and leaves the driver with CUDA 14; this one came with R570
    return float(pynvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU))


def _clock_hz(handle: Any, clock: int) -> float:
    return float(pynvml.nvmlDeviceGetClockInfo(handle, clock)) * 1e6


def _reasons_mask(handle: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
    # the name that drivers before R535 know
    return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _compute_processes(handle: Any) -> list[int]:
    """Ids of the processes with a compute context, as the driver gives them."""
    return [int(process.pid) for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)]


def _reasons(mask: int) -> tuple[str, ...]:
    bits = [1 << i for i in range(mask.bit_length()) if mask & (1 << i)]
    return tuple(CLOCK_EVENT_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cuda(version: int) -> str:
    """NVML gives 1000 * major + 10 * minor."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _described(gpu: GpuEnvironment) -> str:
    memory = "memory unknown" if gpu.memory_bytes is None else f"{gpu.memory_bytes / 2**30:.0f} GiB"
    mig = ", MIG on" if gpu.mig else ""
    return f"GPU {gpu.device}: {gpu.name}, {memory}, driver {gpu.driver or 'unknown'}{mig}"


def _no_gpu_because(error: Any) -> str:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return "no NVIDIA driver: its library libnvidia-ml.so.1 was not found"
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the NVIDIA driver is installed, but its kernel module is not loaded"
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "the NVIDIA driver's library and kernel module have different versions: reboot the machine"
    return f"NVML can't be used: it says {str(error)!r}"
