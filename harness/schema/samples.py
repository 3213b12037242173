"""Raw observations: every request, and every reading of host and GPU. All else is derived from these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Status(IntEnum):
    """How a request ended. Anything but OK is an error, and its times are not latencies."""

    OK = 0
    REFUSED = 1
    """The server answered with an error: HTTP 4xx/5xx, or a gRPC status that isn't 0."""
    CONNECTION = 2
    """The connection was refused, reset or closed before the answer was whole."""
    TIMEOUT = 3
    """No whole answer within `measure.timeout_s`."""
    PROTOCOL = 4
    """What came back is not what the protocol says."""


class Phase(IntEnum):
    WARMUP = 0
    MEASURE = 1


REQUEST = np.dtype(
    [
        ("request_class", "<u2"),  # index into the point's classes
        ("status", "u1"),  # Status
        ("phase", "u1"),  # Phase
        ("worker", "<u2"),  # which load process sent it
        ("reason", "<u2"),  # 0, or 1 + index into the worker's list of distinct error texts
        ("intended_ns", "<i8"),  # when it should have been sent; in a closed loop, when its user was free
        ("sent_ns", "<i8"),  # just before the first byte was handed to the kernel
        ("first_byte_ns", "<i8"),  # when the first bytes of the answer were read; -1 if none came
        ("completed_ns", "<i8"),  # when the last byte was read, or the failure was seen
        ("sent_bytes", "<u4"),
        ("received_bytes", "<u4"),
    ]
)
"""One request, 48 bytes. Times are CLOCK_MONOTONIC nanoseconds, which every process of a host shares.

This is also the layout of the spool file that a load process appends to while it runs: records end to
end, no header, so that what a killed process wrote stays readable.
"""

NO_BYTE = -1
"""`first_byte_ns` of a request that was not answered."""

Requests = npt.NDArray[np.void]
"""An array of REQUEST."""


class SequenceEnd(IntEnum):
    """How a sequence ended."""

    WHOLE = 0
    CUT = 1
    """By the end of the phase: its last step was sent early."""
    FAILED = 2
    """A step of it failed, and no other was sent."""


SEQUENCE = np.dtype(
    [
        ("request_class", "<u2"),
        ("phase", "u1"),  # Phase
        ("how", "u1"),  # SequenceEnd
        ("steps", "<u4"),  # that were sent
        ("began_ns", "<i8"),  # when its first step should have been sent
        ("ended_ns", "<i8"),  # when its last answer was whole, or the failure was seen
    ]
)
"""One sequence of requests, 24 bytes; times as those of REQUEST."""

Sequences = npt.NDArray[np.void]
"""An array of SEQUENCE."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The requests of the measured phase in the order they were due, as columns of equal length.

    Columns rather than records, because a figure needs two or three of them, and 10 million records are half
    a gigabyte.
    """

    request_class: npt.NDArray[np.uint16]
    status: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint16]
    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    completed_ns: npt.NDArray[np.int64]

    @classmethod
    def of(cls, requests: Requests) -> Measured:
        """From records of any phase and in any order."""
        measured = requests[requests["phase"] == Phase.MEASURE]
        measured = measured[np.argsort(measured["intended_ns"], kind="stable")]
        return cls(**{name: np.ascontiguousarray(measured[name]) for name in cls.__slots__})

    def due_before(self, at_ns: int) -> Measured:
        """Those that were due before `at_ns`; no copy."""
        end = int(np.searchsorted(self.intended_ns, at_ns))
        return Measured(**{name: getattr(self, name)[:end] for name in self.__slots__})

    @property
    def size(self) -> int:
        return int(self.status.size)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        ok: npt.NDArray[np.bool_] = self.status == Status.OK
        return ok


@dataclass(frozen=True, slots=True)
class Window:
    """The measured phase, in CLOCK_MONOTONIC nanoseconds: first intended send to last completion."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class HostReading:
    """One look at the host. CPU times are totals since each process began, so differences are exact."""

    at_ns: int
    server_cpu_s: float | None
    """CPU seconds of Triton and its children; None where it isn't on this host and no probe tells of it."""
    client_cpu_s: float | None
    """CPU seconds of the load processes."""
    host_cpu_s: float
    """Busy CPU seconds of the whole machine, all cores."""
    server_memory_bytes: int | None
    """Proportional set size where readable, so that pages shared by instances count once."""
    client_memory_bytes: int | None
    harness_cpu_s: float | None = None
    """CPU seconds of harness itself: this process, without server and load processes."""
    host_process_cpu_s: float | None = None
    """The part of `host_cpu_s` that processes used: without interrupts. None where the server runs on this
    machine and its processes can't be told from others."""
    stolen_cpu_s: float | None = None
    """CPU seconds that the hypervisor gave to others while this machine wanted them."""
    throttled_cpu_s: float | None = None
    """Seconds that processes of this control group were held back by its CPU quota; None without a quota."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One process with a compute context on a GPU."""

    pid: int
    """As the driver gives it: in a container it may be the host's, or something else."""
    name: str | None
    """None where /proc doesn't know the id."""
    memory_bytes: int | None
    """The memory that it holds on this GPU."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One look at one GPU, or at one MIG instance of it. None where the device or driver doesn't report the
    value, or where it wasn't due: slow values are read less often than fast ones."""

    at_ns: int
    device: int
    utilization: float | None
    """Share of the driver's last sample period in which any kernel ran, 0 to 1. Not how busy the SMs were."""
    memory_bytes: int | None
    power_w: float | None
    energy_j: float | None
    """The counter since the driver was loaded; use differences."""
    temperature_c: float | None
    sm_clock_hz: float | None
    memory_clock_hz: float | None
    throttle_reasons: tuple[str, ...] | None
    """The active clock event reasons, under NVML's names; empty when none is active."""
    foreign_processes: tuple[str, ...] | None = None
    """Other processes that compute on this GPU, "name (pid)"; empty when there are none."""
    mig_instance: int | None = None
    """Which MIG device of the GPU; None for the GPU as a whole, which has no utilization where MIG is on."""
    sm_activity: float | None = None
    """Share of time in which an SM had a warp, the mean over SMs, 0 to 1 (GPM, Hopper and later). Like the
    three below, of the time since the reading before that has it."""
    sm_occupancy: float | None = None
    """Warps on the SMs over the most that fit, 0 to 1."""
    tensor_activity: float | None = None
    """Share of cycles in which the tensor cores worked, 0 to 1."""
    dram_activity: float | None = None
    """Share of the peak memory bandwidth that was used, 0 to 1."""
    pcie_tx_bytes_per_s: float | None = None
    """From the GPU."""
    pcie_rx_bytes_per_s: float | None = None
    """To the GPU."""
    ecc_errors: int | None = None
    """Uncorrected memory errors since the driver was loaded; use differences."""
    processes: tuple[GpuProcess, ...] | None = None
    """All that compute on it but harness itself."""
