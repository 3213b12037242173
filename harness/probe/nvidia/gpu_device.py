"""One GPU, or one MIG device of it, read at the pace that each of its values has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from harness.probe.nvidia import gpm
from harness.probe.nvidia.gpu_identity import identity, mig_identity
from harness.probe.nvidia.gpu_values import GpuValues, MigValues
from harness.probe.nvidia.nvml import Handle, Nvml
from harness.probe.nvidia.nvml_fields import NvmlFields
from harness.probe.reader.pace import Pace
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading

SECOND_NS = 1_000_000_000
ENERGY_INTERVAL_NS = 100_000_000

Group = tuple[Pace, Callable[[], dict[str, Any]]]


class Device:
    """A GPU or MIG device: its identity, and its readings."""

    def __init__(
        self,
        environment: GpuEnvironment,
        fields: NvmlFields,
        groups: list[Group],
        close: Callable[[], None],
    ) -> None:
        self.environment = environment
        self.fields = fields
        self.close = close
        """Give back what it holds of NVML; may raise pynvml.NVMLError."""
        self._groups = groups

    @property
    def name(self) -> str:
        """In words, e.g. "GPU 0" or "MIG device 1 of GPU 0"."""
        gpu = f"GPU {self.environment.device}"
        instance = self.environment.mig_instance
        return gpu if instance is None else f"MIG device {instance} of {gpu}"

    def read(self, at_ns: int, cpu_clock: Callable[[], int], everything: bool = False) -> GpuReading | None:
        """The values that are due at `at_ns`, which is now; None where none is, or none was answered. A
        reading without any value says that the device is lost. With `everything`, what could be read and
        isn't due is read as well."""
        groups = [
            (pace, group)
            for pace, group in self._groups
            if (pace.possible(at_ns) if everything else pace.due(at_ns))
        ]
        if not groups:
            return None
        found: dict[str, Any] = {}
        for pace, group in groups:
            began_ns = cpu_clock()
            found |= group()
            pace.took(at_ns, cpu_clock() - began_ns)
        if self.fields.lost:
            found = {}  # what was read before it went is no whole reading
        elif not found:
            return None
        return GpuReading(
            at_ns=at_ns,
            device=self.environment.device,
            mig_instance=self.environment.mig_instance,
            utilization=found.pop("utilization", None),
            memory_bytes=found.pop("memory_bytes", None),
            power_w=found.pop("power_w", None),
            energy_j=found.pop("energy_j", None),
            temperature_c=found.pop("temperature_c", None),
            sm_clock_hz=found.pop("sm_clock_hz", None),
            memory_clock_hz=found.pop("memory_clock_hz", None),
            throttle_reasons=found.pop("throttle_reasons", None),
            **found,
        )


def whole(nvml: Nvml, gpu: Handle, gpus: int) -> Device:
    """A GPU, one of `gpus`. The calls for all of them and their MIG devices may take 0.9% of a core."""
    fields = NvmlFields()
    environment = identity(nvml, gpu, fields)
    values = GpuValues(nvml, gpu, fields, mig=bool(environment.mig))
    groups: list[Group] = [
        # the counter first: it is the one value that is read off at a time
        (Pace(ENERGY_INTERVAL_NS, 0.0013 / gpus), values.energy),
        (Pace(0, 0.0040 / gpus), values.fast),
        (Pace(gpm.INTERVAL_NS, 0.0009 / gpus, gpm.LEAST_NS), values.activity),
        (Pace(SECOND_NS, 0.0004 / gpus), values.slow),
        (Pace(SECOND_NS, 0.0009 / gpus), values.processes),
    ]
    return Device(environment, fields, groups, values.close)


def mig_devices(nvml: Nvml, gpu: Handle, of: Device, gpus: int) -> Iterator[Device]:
    """The MIG devices of a GPU; none where MIG is off. Raises pynvml.NVMLError where they can't be listed."""
    if not of.environment.mig:
        return
    handles = {}
    for index in range(nvml.number(gpu, "nvmlDeviceGetMaxMigDeviceCount")):
        try:
            handles[index] = nvml.mig_device(gpu, index)
        except pynvml.NVMLError as error:
            # they needn't be numbered without gaps
            if error.value not in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT):
                raise
    devices = gpus * len(handles)
    for index, mig in handles.items():
        fields = NvmlFields(of.fields.reasons)
        environment = mig_identity(nvml, mig, of.environment, index, fields)
        values = MigValues(nvml, gpu, mig, fields)
        groups: list[Group] = [
            (Pace(gpm.INTERVAL_NS, 0.0009 / devices, gpm.LEAST_NS), values.activity),
            (Pace(SECOND_NS, 0.0002 / devices), values.slow),
            (Pace(SECOND_NS, 0.0002 / devices), values.processes),
        ]
        yield Device(environment, fields, groups, values.close)
