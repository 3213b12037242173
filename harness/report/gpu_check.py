"""docs/gpu.md: what `harness gpu-check` found. A figure that wasn't taken isn't there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.report.format import DASH, ms, number, percent, span
from harness.report.template import markdown_page
from harness.schema.gpu_check import ClientShare, GpuCheck, SmokePoint

_PACKAGES = ("onnxruntime-gpu", "onnxruntime", "torch", "tensorrt", "nvidia-ml-py", "tritonclient", "locust")


def gpu_page(found: GpuCheck) -> str:
    """The page as Markdown; the same record always gives the same page."""
    filters: dict[str, Callable[..., str]] = {
        "throughput": _throughput,
        "ms": _ms,
        "share": _share,
        "joules": _joules,
        "number": _number,
        "per_request": _per_request,
    }
    failed = len(found.failures)
    comparison = found.comparison
    return markdown_page(
        "gpu.md.j2",
        filters,
        found=found,
        verdict=f"{failed} check{'s' * (failed != 1)} failed." if failed else "Every check passed.",
        machine=list(_machine(found)),
        scenario="scenarios/gpu-smoke.yaml",
        axes=", ".join(f"{size} {axis}" for axis, size in comparison.axes.items()) if comparison else "",
    )


def _machine(found: GpuCheck) -> Iterator[tuple[str, str]]:
    where = found.environment
    yield "measured", f"{found.started_at} to {found.finished_at}"
    for gpu in where.gpus:
        known = [
            f"driver {gpu.driver}" if gpu.driver else "",
            f"CUDA {gpu.cuda_driver}" if gpu.cuda_driver else "",
            f"power limit {gpu.power_limit_w:g} W" if gpu.power_limit_w else "",
            {True: "ECC on", False: "ECC off", None: ""}[gpu.ecc],
            {True: "MIG on", False: "", None: ""}[gpu.mig],
            f"PCIe {gpu.pcie_generation}.0 x{gpu.pcie_width}" if gpu.pcie_width else "",
        ]
        yield f"GPU {gpu.device}", ", ".join([gpu.name, *filter(None, known)])
    yield "machine", f"{where.cpu}, {where.cores} cores, {where.memory_bytes / 2**30:.0f} GiB"
    yield "system", f"{where.os}, kernel {where.kernel}"
    yield "harness", f"{where.harness_version} ({where.git_commit or 'no commit known'})"
    yield "Triton", f"{where.triton_version}, {where.server_mode}, {where.backend}"
    yield "provider", where.execution_provider or "not known"
    yield "packages", ", ".join(f"{n} {where.packages[n]}" for n in _PACKAGES if n in where.packages)


def _throughput(point: SmokePoint) -> str:
    interval = span(point.inferences_per_s_interval_95, number)
    return _number(point.inferences_per_s) + (f" ({interval})" if interval else "")


def _number(value: float | None) -> str:
    return DASH if value is None else number(value)


def _ms(seconds: float | None) -> str:
    return DASH if seconds is None else f"{ms(seconds)} ms"


def _share(share: float | None) -> str:
    return DASH if share is None else percent(share)


def _joules(energy_j: float | None) -> str:
    return DASH if energy_j is None else f"{number(energy_j)} J"


def _per_request(client: ClientShare) -> str:
    return "" if client.cpu_s_per_request is None else f", {client.cpu_s_per_request * 1e6:.0f} µs a request"
