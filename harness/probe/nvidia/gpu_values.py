"""The values of a reading, by the pace that the driver has new ones at. Source: "NVML API Reference".

Calls cost between half a microsecond and several milliseconds, in which the driver may hold a lock that CUDA
programs wait for too. So each value is asked for no more often than it changes:

- power, SM clock and clock event reasons at every look;
- the energy counter and GPM ten times a second or less: on some GPUs the counter moves in such steps;
- utilization likewise: the driver's sample period is 1/6 to 1 s;
- memory, temperature, memory clock and ECC errors once a second; the list of processes too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pynvml

from harness.probe.nvidia.gpm import METRICS, Gpm
from harness.probe.nvidia.nvml import REFUSED, Handle, Nvml
from harness.probe.nvidia.nvml_fields import NvmlFields
from harness.schema.samples import GpuProcess

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

_WHOLE_GPU = (
    "utilization",
    "power_w",
    "energy_j",
    "temperature_c",
    "sm_clock_hz",
    "memory_clock_hz",
    "throttle_reasons",
    "ecc_errors",
)


class GpuValues:
    """Groups of values of a whole GPU, by the names of their fields, without those that have no answer."""

    def __init__(self, nvml: Nvml, gpu: Handle, fields: NvmlFields, mig: bool) -> None:
        self._nvml = nvml
        self._gpu = gpu
        self._fields = fields
        self._gpm = Gpm(nvml, gpu, fields)
        self._instant_power = True
        if mig:
            fields.refuse("utilization", "MIG is on")

    def energy(self) -> dict[str, Any]:
        return self._values(
            energy_j=lambda: self._nvml.number(self._gpu, "nvmlDeviceGetTotalEnergyConsumption") / 1e3
        )

    def fast(self) -> dict[str, Any]:
        return self._values(
            power_w=self._power_w,
            sm_clock_hz=lambda: self._clock_hz(pynvml.NVML_CLOCK_SM),
            throttle_reasons=self._clock_event_reasons,
        )

    def activity(self) -> dict[str, Any]:
        return self._gpm.read() | self._values(
            utilization=lambda: self._nvml.number(self._gpu, "nvmlDeviceGetUtilizationRates") / 100
        )

    def slow(self) -> dict[str, Any]:
        return self._values(
            memory_bytes=lambda: memory_bytes(self._nvml, self._gpu),
            temperature_c=self._temperature_c,
            memory_clock_hz=lambda: self._clock_hz(pynvml.NVML_CLOCK_MEM),
            ecc_errors=lambda: self._nvml.number(
                self._gpu,
                "nvmlDeviceGetTotalEccErrors",
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                pynvml.NVML_VOLATILE_ECC,
            ),
        )

    def processes(self) -> dict[str, Any]:
        return self._values(processes=lambda: processes(self._nvml, self._gpu))

    def close(self) -> None:
        self._gpm.close()

    def _values(self, **queries: Callable[[], Any]) -> dict[str, Any]:
        return values(self._fields, queries)

    def _power_w(self) -> float:
        """The power now, where the driver has that. Else it is what nvidia-smi shows, on most GPUs the mean
        of the last second."""
        if self._instant_power:
            try:
                return self._nvml.field(self._gpu, pynvml.NVML_FI_DEV_POWER_INSTANT) / 1e3
            except pynvml.NVMLError as error:
                if error.value not in (*REFUSED, pynvml.NVML_ERROR_INVALID_ARGUMENT):
                    raise
                self._instant_power = False
        return self._nvml.number(self._gpu, "nvmlDeviceGetPowerUsage") / 1e3

    def _clock_hz(self, clock: int) -> float:
        return self._nvml.number(self._gpu, "nvmlDeviceGetClockInfo", clock) * 1e6

    def _clock_event_reasons(self) -> tuple[str, ...]:
        mask = self._first_known(
            # the second name is what drivers before R535 know
            lambda: self._nvml.number(self._gpu, "nvmlDeviceGetCurrentClocksEventReasons"),
            lambda: self._nvml.number(self._gpu, "nvmlDeviceGetCurrentClocksThrottleReasons"),
        )
        bits = [1 << i for i in range(mask.bit_length()) if mask & (1 << i)]
        return tuple(CLOCK_EVENT_REASONS.get(bit, f"unknown_{bit:#x}") for bit in bits)

    def _temperature_c(self) -> float:
        sensor = pynvml.NVML_TEMPERATURE_GPU
        return float(
            self._first_known(
                # the first is deprecated and leaves the driver with CUDA 14; the second came with R570
                lambda: self._nvml.number(self._gpu, "nvmlDeviceGetTemperature", sensor),
                lambda: self._nvml.number(self._gpu, "nvmlDeviceGetTemperatureV", sensor),
            )
        )

    @staticmethod
    def _first_known(query: Callable[[], int], otherwise: Callable[[], int]) -> int:
        try:
            return query()
        except pynvml.NVMLError as error:
            if error.value not in (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_DEPRECATED):
                raise
        return otherwise()


class MigValues:
    """The values of a MIG device: its memory, its processes and GPM of its GPU instance. The rest belongs
    to the whole GPU."""

    def __init__(self, nvml: Nvml, gpu: Handle, mig: Handle, fields: NvmlFields) -> None:
        self._nvml = nvml
        self._mig = mig
        self._fields = fields
        self._gpm: Gpm | None = None
        for field in _WHOLE_GPU:
            fields.refuse(field, "belongs to the whole GPU")
        instance = fields.ask(lambda: nvml.number(mig, "nvmlDeviceGetGpuInstanceId"), *METRICS)
        if instance is not None:
            self._gpm = Gpm(nvml, gpu, fields, instance)

    def activity(self) -> dict[str, Any]:
        return {} if self._gpm is None else self._gpm.read()

    def slow(self) -> dict[str, Any]:
        return values(self._fields, {"memory_bytes": lambda: memory_bytes(self._nvml, self._mig)})

    def processes(self) -> dict[str, Any]:
        return values(self._fields, {"processes": lambda: processes(self._nvml, self._mig)})

    def close(self) -> None:
        if self._gpm is not None:
            self._gpm.close()


def values(fields: NvmlFields, queries: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    answers = {field: fields.ask(query, field) for field, query in queries.items()}
    return {field: answer for field, answer in answers.items() if answer is not None}


def memory_bytes(nvml: Nvml, of: Handle) -> int:
    """The memory in use, with what the driver has reserved for itself."""
    _, _, used = nvml.numbers(of, "nvmlDeviceGetMemoryInfo")
    return used


def processes(nvml: Nvml, of: Handle) -> tuple[GpuProcess, ...]:
    """The processes with a compute or a graphics context, each once, as the driver gives them."""
    listed = dict(nvml.processes(of, "nvmlDeviceGetComputeRunningProcesses_v3"))
    try:
        graphics = nvml.processes(of, "nvmlDeviceGetGraphicsRunningProcesses_v3")
    except pynvml.NVMLError as error:
        if error.value not in REFUSED:
            raise
        graphics = []
    for pid, used in graphics:
        listed.setdefault(pid, used)
    return tuple(GpuProcess(pid, _name(pid), used) for pid, used in listed.items())


def _name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except (psutil.Error, ValueError):
        return None
