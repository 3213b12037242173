"""The GPUs that NVML lists. Source: NVIDIA's "NVML API Reference", device and system queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pynvml

from harness.probe.nvidia.gpu_device import Device, mig_devices, whole
from harness.probe.nvidia.nvml import Nvml
from harness.probe.nvidia.recording import Recorder
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading

NO_LIBRARY = "no NVIDIA driver: its library libnvidia-ml.so.1 was not found"


class NvmlGpus:
    """An open NVML, as `harness.probe.vendors.OpenGpus` describes it.

    A GPU or MIG device that is lost is read as all None once and is then left out, while the others go on.
    With `record`, what NVML answers is written to that file (`harness.probe.nvidia.recording`).
    """

    unavailable: str | None
    """Why nothing can be read, in words; None when at least one GPU answers."""

    def __init__(
        self,
        record: Path | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        cpu_clock: Callable[[], int] = time.thread_time_ns,
    ) -> None:
        """`clock` stamps the readings, and `cpu_clock` tells what they cost; both in nanoseconds."""
        self.unavailable = None
        self._problems: list[str] = []
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._record = record
        self._recorder: Recorder | None = None
        self._nvml = Nvml()
        self._open = False
        self._devices: list[Device] = []
        self._live: list[Device] = []

    @property
    def devices(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs in NVML's order (PCI bus), each followed by its MIG devices."""
        return tuple(
            device.environment.model_copy(update={"unsupported": dict(device.fields.reasons)})
            for device in self._devices
        )

    @property
    def problems(self) -> list[str]:
        unrecorded = self._recorder.problem if self._recorder else None
        return self._problems if unrecorded is None else [*self._problems, unrecorded]

    def __enter__(self) -> NvmlGpus:
        if self._record is not None:
            self._recorder = Recorder(self._record, self._clock)
            self._nvml = Nvml(self._recorder)
        try:
            self._nvml.open()
            self._open = True
            count = self._nvml.number(None, "nvmlDeviceGetCount")
        except pynvml.NVMLError as error:
            self.unavailable = _no_gpu_because(error)
            if error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:  # a driver that is there should work
                self._problems.append(self.unavailable)
            return self
        for index in range(count):
            self._add(index, count)
        if not self._devices:
            self.unavailable = "; ".join(self._problems) or "the NVIDIA driver runs, but it lists no GPU"
        self._live = list(self._devices)
        return self

    def __exit__(self, *_: object) -> None:
        if self._open:
            self._open = False
            for close in (*(device.close for device in self._devices), self._nvml.close):
                try:
                    close()
                except pynvml.NVMLError as error:
                    self._problems.append(f"NVML could not be closed: {error}")
        if self._recorder is not None:
            self._recorder.close()

    def read(self, *, everything: bool = False) -> tuple[GpuReading, ...]:
        """One reading for each device that isn't lost and has a value due; with `everything`, for each."""
        readings = []
        for device in tuple(self._live):
            reading = device.read(self._clock(), self._cpu_clock, everything)
            if reading is not None:
                readings.append(reading)
            if device.fields.lost:
                self._live.remove(device)
                self._problems.append(
                    f"{device.name} was lost (NVML: {device.fields.lost}) and is observed no more: "
                    "see `dmesg` for its Xid error"
                )
        return tuple(readings)

    def _add(self, index: int, count: int) -> None:
        try:
            gpu = self._nvml.device(index)
        except pynvml.NVMLError as error:
            self._problems.append(f"GPU {index} can't be opened: NVML says {str(error)!r}")
            return
        device = whole(self._nvml, gpu, count)
        self._devices.append(device)
        try:
            self._devices.extend(mig_devices(self._nvml, gpu, device, count))
        except pynvml.NVMLError as error:
            self._problems.append(f"the MIG devices of GPU {index} can't be listed: NVML says {str(error)!r}")


def _no_gpu_because(error: pynvml.NVMLError) -> str:
    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return NO_LIBRARY
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the NVIDIA driver is installed, but its kernel module is not loaded"
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "the NVIDIA driver's library and kernel module have different versions: reboot the machine"
    return f"NVML can't be used: it says {str(error)!r}"
