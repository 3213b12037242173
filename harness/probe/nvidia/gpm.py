"""Activity of a GPU's units from its own counters: NVML's GPU Performance Monitoring, Hopper and later.

Sources: NVIDIA's "NVML API Reference", GPM Functions and GPM Enums. A metric is the mean between two
samples, which must be more than 100 ms apart, because the counters behind them are refreshed that slowly.
Percentages are 0 to 100, PCIe traffic is in MiB/s.
"""

from __future__ import annotations

import math
from typing import Any

import pynvml

from harness.probe.nvidia.nvml import Handle, Nvml
from harness.probe.nvidia.nvml_fields import NvmlFields, reason

METRICS = {
    "sm_activity": (pynvml.NVML_GPM_METRIC_SM_UTIL, 0.01),
    "sm_occupancy": (pynvml.NVML_GPM_METRIC_SM_OCCUPANCY, 0.01),
    "tensor_activity": (pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL, 0.01),
    "dram_activity": (pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL, 0.01),
    "pcie_tx_bytes_per_s": (pynvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC, 2.0**20),
    "pcie_rx_bytes_per_s": (pynvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC, 2.0**20),
}
"""A reading's fields: the metric, and what turns its unit into the field's."""

LEAST_NS = 105_000_000
"""The least time between two samples: a little over the 100 ms."""

INTERVAL_NS = 125_000_000


class Gpm:
    """The metrics of a GPU, or of the GPU instance that a MIG device belongs to."""

    def __init__(self, nvml: Nvml, gpu: Handle, fields: NvmlFields, gpu_instance: int | None = None) -> None:
        self._nvml = nvml
        self._gpu = gpu
        self._fields = fields
        self._instance = gpu_instance
        self._samples: list[Any] = []
        self._whole = False
        """Whether the first sample was taken, so that there is one to start from."""
        self._request = pynvml.c_nvmlGpmMetricsGet_t()
        self._request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        self._request.numMetrics = len(METRICS)
        for i, (metric, _) in enumerate(METRICS.values()):
            self._request.metrics[i].metricId = metric
        why = self._unusable()
        if why is not None:
            for field in METRICS:
                fields.refuse(field, why)

    def read(self) -> dict[str, float]:
        """The means since the last time this gave some, without the metrics that have none."""
        return self._fields.ask(self._means, *METRICS) or {}

    def close(self) -> None:
        while self._samples:
            pynvml.nvmlGpmSampleFree(self._samples.pop())

    def _unusable(self) -> str | None:
        try:
            if not self._nvml.numbers(self._gpu, "nvmlGpmQueryDeviceSupport")[1]:
                return "needs GPM: Hopper or newer"
            for _ in range(2):
                self._samples.append(
                    self._nvml.noted(None, "nvmlGpmSampleAlloc", lambda: pynvml.nvmlGpmSampleAlloc())
                )
        except pynvml.NVMLError as error:
            unknown = error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            return "needs GPM: Hopper or newer" if unknown else reason(error)
        return None

    def _means(self) -> dict[str, float]:
        first, second = self._samples
        self._take(second if self._whole else first)
        if not self._whole:
            self._whole = True
            return {}
        self._request.sample1, self._request.sample2 = first, second
        metrics = self._nvml.noted(
            self._gpu.name, f"nvmlGpmMetricsGet{self._brackets}", self._compute, _shown
        )
        self._samples.reverse()
        means = {}
        for (field, (_, unit)), (_, code, value) in zip(METRICS.items(), metrics, strict=True):
            if code != pynvml.NVML_SUCCESS:
                self._fields.failed(field, pynvml.NVMLError(code))
            elif math.isfinite(value):
                means[field] = value * unit
        return means

    def _take(self, sample: Any) -> None:
        gpu, instance = self._gpu.pointer, self._instance
        if instance is None:
            self._nvml.noted(self._gpu.name, "nvmlGpmSampleGet", lambda: pynvml.nvmlGpmSampleGet(gpu, sample))
        else:
            self._nvml.noted(
                self._gpu.name,
                f"nvmlGpmMigSampleGet{self._brackets}",
                lambda: pynvml.nvmlGpmMigSampleGet(gpu, instance, sample),
            )

    def _compute(self) -> list[tuple[int, int, float]]:
        pynvml.nvmlGpmMetricsGet(self._request)
        metrics = self._request.metrics
        return [(m.metricId, m.nvmlReturn, m.value) for m in metrics[: len(METRICS)]]

    @property
    def _brackets(self) -> str:
        return "" if self._instance is None else f"({self._instance})"


def _shown(metrics: list[tuple[int, int, float]]) -> str:
    return " ".join(f"{metric}:{code}:{value!r}" for metric, code, value in metrics)
