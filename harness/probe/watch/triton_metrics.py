"""What a Triton's own metrics endpoint says of its GPUs, for a server elsewhere that has no probe beside it.

Source: Triton's "Metrics" (docs/user_guide/metrics.md) and `src/metrics.cc` of its core. Triton asks DCGM for
new values at `--metrics-interval-ms` (2000 by default), so a value is up to that old when it is
read, and the energy of a window is that of a window up to 2 s earlier. It writes 0 where DCGM gave it no
value: no GPU draws 0 W or has 0 bytes, so these are taken for what they are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from http.client import HTTPException

from harness.address import Address, Url
from harness.http_json import Client, words
from harness.probe.watch.prometheus import Sample, samples
from harness.probe.watch.watch import Seen, looked
from harness.schema.errors import InputError, ServerError
from harness.schema.result import GpuEnvironment, GpuProbe
from harness.schema.samples import GpuReading

PORT = 8002
"""Triton's own choice for its metrics."""
INTERVAL_S = 0.5
"""The time between two looks: a change is seen soon after Triton has it."""
UNCHANGED_S = 2.0
"""A look that finds what the last one found is kept only after this time."""
ANSWER_S = 2.0
"""How long the whole page may take."""
PAGE_BYTES = 8 << 20
"""The most bytes of a page. A longer one is refused, because a cut page may end in a part of a number."""
MOST_GPUS = 256
"""The most GPUs that are read of one page, which is more than any machine has, MIG instances included."""
LONGEST_UUID = 100
MOST_PROBLEMS = 10
_BOUND = float(1 << 63)
"""Every value, in bytes, joules or watts, is below this."""

NOT_TOLD = "Triton's metrics don't tell it"

_READING = {
    "nv_gpu_utilization": "utilization",
    "nv_gpu_memory_used_bytes": "memory_bytes",
    "nv_gpu_power_usage": "power_w",
    "nv_energy_consumption": "energy_j",
}
_NEVER_ZERO = (
    "nv_gpu_power_usage",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_power_limit",
)
_NAMES = (*_READING, "nv_gpu_memory_total_bytes", "nv_gpu_power_limit")


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """The address of a metrics page, `http://host:port/path`."""

    url: str
    address: Address
    path: str

    @classmethod
    def of(cls, url: str) -> MetricsPage:
        """Raises InputError for another kind of address."""
        with suppress(ValueError):
            scheme, address, path = Url.parse(url, PORT)
            if scheme == "http":
                return cls(url, address, path if path.strip("/") else "/metrics")
        raise InputError(f"--metrics-url {url!r} is no metrics endpoint: give it as http://host:8002/metrics")

    def page(self) -> str:
        """Raises OSError or HTTPException where there is none."""
        with Client(*self.address) as client:
            status, text = client.ask("GET", self.path, limit_s=ANSWER_S, most_bytes=PAGE_BYTES)
        if status != 200:
            raise HTTPException(f"status {status}")
        return text.decode("utf-8", errors="replace")

    def gpus(self) -> tuple[GpuEnvironment, ...]:
        """The GPUs that it lists now. Raises ServerError where it doesn't answer."""
        try:
            return tuple(environment(i, gpu) for i, gpu in enumerate(listed(samples(self.page())).items()))
        except (OSError, HTTPException) as error:
            raise ServerError(
                f"no metrics come from {self.url} ({words(error)}): start Triton with --allow-metrics=true "
                "and a --metrics-address that this machine reaches, or leave out --metrics-url"
            ) from error


Values = dict[str, float]
"""The values of one GPU by Triton's names, without those that Triton doesn't have."""


def listed(page: Iterable[Sample]) -> dict[str, Values]:
    """The GPUs of a page by their UUID, in the page's order, and no more than MOST_GPUS of them."""
    gpus: dict[str, Values] = {}
    for sample in page:
        uuid = sample.labels.get("gpu_uuid")
        if not uuid or sample.name not in _NAMES or not _is_name(uuid):
            continue
        if uuid not in gpus and len(gpus) >= MOST_GPUS:
            continue
        values = gpus.setdefault(uuid, {})
        known = sample.value > 0 or (sample.value == 0 and sample.name not in _NEVER_ZERO)
        if known and sample.value < _BOUND:
            values[sample.name] = sample.value
    return gpus


def _is_name(uuid: str) -> bool:
    return len(uuid) <= LONGEST_UUID and uuid.isprintable()


def reading(at_ns: int, device: int, values: Values) -> GpuReading:
    known = {field: values.get(name) for name, field in _READING.items()}
    memory = known["memory_bytes"]
    blank = GpuReading(at_ns, device, None, None, None, None, None, None, None, None)
    return replace(
        blank,
        utilization=known["utilization"],
        memory_bytes=None if memory is None else int(memory),
        power_w=known["power_w"],
        energy_j=known["energy_j"],
    )


def environment(device: int, gpu: tuple[str, Values]) -> GpuEnvironment:
    """What the page says of a GPU, and why the rest is null."""
    uuid, values = gpu
    memory = values.get("nv_gpu_memory_total_bytes")
    known = GpuEnvironment(
        device=device,
        name="unknown GPU",
        uuid=uuid,
        memory_bytes=None if memory is None else int(memory),
        driver=None,
        cuda_driver=None,
        power_limit_w=values.get("nv_gpu_power_limit"),
        persistence=None,
        ecc=None,
        mig=None,
    )
    names = [n for n in GpuEnvironment.model_fields if n != "mig_instance" and getattr(known, n) is None]
    absent = {field for name, field in _READING.items() if name not in values}
    always = {field.name for field in fields(GpuReading)} - {
        "at_ns",
        "device",
        "mig_instance",
        *_READING.values(),
    }
    return known.model_copy(
        update={"unsupported": dict.fromkeys([*names, *sorted(absent | always)], NOT_TOLD)}
    )


class MetricsWatch:
    """A `Watch` over the GPUs of a Triton's metrics page."""

    def __init__(self, page: MetricsPage, interval_s: float = INTERVAL_S) -> None:
        self._page, self._interval_s = page, interval_s
        self._gpus: dict[str, GpuEnvironment] = {}
        self._last: dict[str, tuple[int, Values]] = {}
        self._readings: list[GpuReading] = []
        self._problems: dict[str, None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="triton metrics", daemon=True)

    def start(self) -> None:
        self._look(all_of_it=True)
        self._thread.start()

    def rest(self) -> bool:
        return False

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            self._look(all_of_it=True)

    def seen(self, server: Set[int], others: Set[int]) -> Seen:  # noqa: ARG002 - they can't be told apart
        probe = None
        if self._readings:
            probe = GpuProbe(
                source="triton metrics",
                readings=len(self._readings),
                interval_s=looked(self._readings, UNCHANGED_S),
                cpu_cores=None,
            )
        none = None
        if not self._gpus:
            none = next(iter(self._problems), None) or (
                f"{self._page.url} lists no GPU: Triton has none, or was started without GPU metrics"
            )
        return Seen(tuple(self._gpus.values()), none, self._readings, probe, tuple(self._problems))

    def _follow(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self._look()
            due = max(due + self._interval_s, time.monotonic())

    def _look(self, all_of_it: bool = False) -> None:
        sent_ns = time.monotonic_ns()
        try:
            page = self._page.page()
        except (OSError, HTTPException) as error:
            if len(self._problems) < MOST_PROBLEMS:
                self._problems[f"metrics did not come from {self._page.url}: {words(error)}"] = None
            return
        at_ns = (sent_ns + time.monotonic_ns()) // 2
        for uuid, values in listed(samples(page)).items():
            if uuid not in self._gpus:
                if len(self._gpus) >= MOST_GPUS:
                    continue
                self._gpus[uuid] = environment(len(self._gpus), (uuid, values))
            if values.keys().isdisjoint(_READING):
                continue  # a reading of nothing would say that the GPU is lost
            before_ns, before = self._last.get(uuid, (0, None))
            if all_of_it or values != before or at_ns - before_ns >= UNCHANGED_S * 1e9:
                self._last[uuid] = (at_ns, values)
                self._readings.append(reading(at_ns, self._gpus[uuid].device, values))
