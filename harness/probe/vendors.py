"""What harness asks of a vendor of GPUs, and the vendors that there are.

NVIDIA is harness's own (`harness.probe.nvidia`). Another package adds a vendor as an entry point of the group
`harness.gpu_vendors` (`harness.extensions`), which names an object, or a module, that has what `Vendor` has:

    [project.entry-points."harness.gpu_vendors"]
    amd = "my_package.amd:vendor"

The entry point's name is the vendor's: it stands in result files as what read the GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from harness.extensions import extensions
from harness.probe.nvidia.vendor import Nvidia
from harness.schema.errors import InputError
from harness.schema.result import GpuEnvironment
from harness.schema.samples import GpuReading


class OpenGpus(Protocol):
    """The GPUs of one vendor on this machine, for the time of a `with`.

    Nothing here raises: a value that can't be read is None, and `problems` has a sentence for what went
    wrong. A vendor that raises all the same is asked nothing more, and the others go on.
    """

    @property
    def unavailable(self) -> str | None:
        """Why no GPU can be read, in one clause; None when at least one answers."""

    @property
    def devices(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs that were there at the start, numbered from 0. A part of a GPU that is read by itself (a
        MIG device) follows its GPU, with that GPU's number in `device` and its own in `mig_instance`.
        `unsupported` says why a value is None, of these and of the readings, as learnt so far."""

    @property
    def problems(self) -> Sequence[str]:
        """What went wrong so far, one sentence each."""

    def read(self, *, everything: bool = False) -> tuple[GpuReading, ...]:
        """One reading for each device that has a value due; this is called some 20 times a second.

        How often a value is worth asking the driver for is the vendor's to know, and one that isn't due is
        None (`harness.probe.reader.pace`). With `everything`, all that can be read is read, due or not: the
        last readings of a window close its counters.

        `at_ns` is CLOCK_MONOTONIC. `processes` are as the driver lists them, and `foreign_processes` stays
        None, because it is judged where the server's processes are known. A reading without any value says
        that the device is lost, and no other follows it. A point is invalid where `throttle_reasons` has a
        name of `harness.analysis.gates.gpu_condition.SLOWED_DOWN`.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Vendor(Protocol):
    """A vendor of GPUs."""

    def missing(self) -> str | None:
        """What isn't installed here and is needed to read its GPUs, in one clause; None where all of it is.

        This is asked often, and in the process that leads a run: it must be cheap, and open no driver.
        """

    def open(self) -> OpenGpus:
        """Its GPUs, to be entered once. Opening and reading happen in a process of their own during a run."""


@runtime_checkable
class RecordingVendor(Vendor, Protocol):
    """A vendor whose driver's answers can be recorded, for `harness probe --record`."""

    def record(self, file: Path) -> OpenGpus:
        """As `open`, and what the driver answers is written to `file`."""


NVIDIA = "nvml"
"""The name of harness's own vendor, which result files have for it since 0.1."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def vendors() -> dict[str, Vendor]:
    """The vendors by name: NVIDIA, then the others in the order of their names. Raises InputError for one
    that can't be imported, and for a name that result files can't tell from others."""
    added = extensions("gpu_vendors")
    for name in added:
        if name == NVIDIA or not _NAME.fullmatch(name):
            raise InputError(
                f"an installed package names a GPU vendor {name!r}: a name has lower-case letters, digits, "
                f"- and _, and {NVIDIA!r} is harness's own; mend or uninstall the package"
            )
    return {NVIDIA: Nvidia(), **added}
