"""The GPUs of this machine, of whichever vendors, as one series of devices.

Devices are counted through: NVIDIA's keep the numbers that NVML gives them, which `server.gpus` and CUDA mean
too, and those of another vendor begin after the last number of the vendor before it (`vendors`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from harness.probe.vendors import OpenGpus, RecordingVendor, Vendor, vendors
from harness.schema.errors import HarnessError
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading

T = TypeVar("T")

_READING_FIELDS = frozenset(field.name for field in fields(GpuReading))


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One line for `harness doctor`: a GPU that can be used, or why there is none."""

    usable: bool
    description: str


def missing() -> str | None:
    """Why there can be no GPU here by what is installed, without opening a driver; None where one may be."""
    reasons = [_missing(vendor) for vendor in vendors().values()]
    return None if None in reasons else "; ".join(reason for reason in reasons if reason is not None)


def availability() -> str | None:
    """None when at least one GPU can be read, else the reason in words."""
    with Gpus() as gpus:
        return gpus.unavailable


def devices() -> tuple[GpuEnvironment, ...]:
    """Every GPU's identity, each followed by its MIG devices; empty where there is none. They have been read
    once, so that `unsupported` knows what the driver refuses."""
    with Gpus() as gpus:
        gpus.read()
        return gpus.devices


def accelerators() -> list[Accelerator]:
    """Every GPU, or a single entry that is not usable and says why."""
    with Gpus() as gpus:
        if gpus.unavailable is not None:
            return [Accelerator(usable=False, description=gpus.unavailable)]
        return [Accelerator(usable=True, description=_described(device)) for device in gpus.devices]


def unsupported(gpus: Sequence[GpuEnvironment]) -> dict[tuple[int, int | None], dict[str, str]]:
    """By device and MIG device, why fields of the readings are null."""
    return {
        (gpu.device, gpu.mig_instance): {f: why for f, why in gpu.unsupported.items() if f in _READING_FIELDS}
        for gpu in gpus
    }


def recorded(file: Path) -> OpenGpus:
    """The GPUs of the first vendor that is here and can record, to be entered, with a recording in `file`.
    Raises HarnessError where there is none."""
    reasons = []
    for name, vendor in vendors().items():
        if not isinstance(vendor, RecordingVendor):
            reasons.append(f"GPUs of the vendor {name} can't be recorded")
        elif (why := _missing(vendor)) is not None:
            reasons.append(why)
        else:
            return vendor.record(file)
    raise HarnessError(f"there is nothing to record: {'; '.join(reasons)}")


class Gpus:
    """All vendors' GPUs, open for the time of a `with`. What goes wrong with a vendor is one of the
    `problems`, and the others are read on."""

    unavailable: str | None
    """Why nothing can be read, in words; None when at least one GPU answers."""

    def __init__(self) -> None:
        self.unavailable = None
        self._vendors: list[_VendorGpus] = []

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the vendors whose GPUs are read here."""
        return tuple(vendor.name for vendor in self._vendors if vendor.devices)

    @property
    def devices(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs and MIG devices that were there at the start, with why their values are null, as learnt so
        far."""
        return tuple(device for vendor in self._vendors for device in vendor.devices)

    @property
    def problems(self) -> list[str]:
        return [problem for vendor in self._vendors for problem in vendor.problems]

    def __enter__(self) -> Gpus:
        reasons = []
        first = 0
        for name, vendor in vendors().items():
            if (why := _missing(vendor)) is not None:
                reasons.append(why)
                continue
            gpus = _VendorGpus(name, vendor, first)
            self._vendors.append(gpus)
            if gpus.devices:
                first = max(device.device for device in gpus.devices) + 1
            else:
                reasons.append(gpus.unavailable)
        if not self.sources:
            self.unavailable = "; ".join(reasons)
        return self

    def __exit__(self, *_: object) -> None:
        for vendor in self._vendors:
            vendor.close()

    def read(self, *, everything: bool = False) -> tuple[GpuReading, ...]:
        """As `OpenGpus.read`, over all vendors."""
        return tuple(reading for vendor in self._vendors for reading in vendor.read(everything))


class _VendorGpus:
    """One vendor's GPUs, open, and numbered from `first`. Nothing raises: a vendor that does is asked nothing
    more."""

    def __init__(self, name: str, vendor: Vendor, first: int) -> None:
        self.name = name
        self._first = first
        self._failure: str | None = None
        self._devices: tuple[GpuEnvironment, ...] = ()
        self._problems: tuple[str, ...] = ()
        self._exit = ExitStack()
        self._gpus: OpenGpus | None = None
        """None once the vendor has failed."""
        try:
            self._gpus = self._exit.enter_context(vendor.open())
        except Exception as error:  # whatever another package's code raises, the measurement goes on
            self._fail(error)

    @property
    def unavailable(self) -> str:
        """Why there is no device."""
        why = self._asked(lambda gpus: gpus.unavailable, None)
        return why or self._failure or f"the GPU vendor {self.name} lists no GPU"

    @property
    def devices(self) -> tuple[GpuEnvironment, ...]:
        self._devices = self._asked(lambda gpus: gpus.devices, self._devices)
        if not self._first:
            return self._devices
        return tuple(d.model_copy(update={"device": d.device + self._first}) for d in self._devices)

    @property
    def problems(self) -> tuple[str, ...]:
        self._problems = self._asked(lambda gpus: tuple(gpus.problems), self._problems)
        return self._problems if self._failure is None else (*self._problems, self._failure)

    def read(self, everything: bool) -> tuple[GpuReading, ...]:
        nothing: tuple[GpuReading, ...] = ()
        readings = self._asked(lambda gpus: gpus.read(everything=everything), nothing)
        if not self._first:
            return readings
        return tuple(replace(reading, device=reading.device + self._first) for reading in readings)

    def close(self) -> None:
        try:
            self._exit.close()
        except Exception as error:
            self._fail(error)

    def _asked(self, query: Callable[[OpenGpus], T], otherwise: T) -> T:
        if self._gpus is None:
            return otherwise
        try:
            return query(self._gpus)
        except Exception as error:
            self._fail(error)
            return otherwise

    def _fail(self, error: Exception) -> None:
        self._gpus = None
        self._failure = (
            f"the GPU vendor {self.name} failed ({type(error).__name__}: {error}): update its package"
        )


def _missing(vendor: Vendor) -> str | None:
    try:
        return vendor.missing()
    except Exception:  # it shows what is wrong with it when it is opened
        return None


def _described(gpu: GpuEnvironment) -> str:
    memory = "memory unknown" if gpu.memory_bytes is None else f"{gpu.memory_bytes / 2**30:.0f} GiB"
    name = f"GPU {gpu.device}" if gpu.mig_instance is None else f"GPU {gpu.device} MIG {gpu.mig_instance}"
    mig = ", MIG on" if gpu.mig and gpu.mig_instance is None else ""
    return f"{name}: {gpu.name}, {memory}, driver {gpu.driver or 'unknown'}{mig}"
