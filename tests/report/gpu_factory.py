"""Runs on GPUs that never happened: two whole ones, and one that is parted by MIG."""

from __future__ import annotations

import math

from harness.analysis.gpu import READ_AS
from harness.schema.result import (
    GpuEnvironment,
    GpuFigures,
    GpuProbe,
    PointResult,
    RunResult,
)
from harness.schema.samples import GpuReading, Window
from harness.schema.scenario import Server
from tests.report import factory

TWO_GPUS = factory.DEMO.model_copy(
    update={"server": Server(max_batch=(1, 16), kind="gpu", provider=("cuda", "tensorrt"))}
)

NO_SERVER_PROCESS = "the driver lists no process of the server"
NOT_SUPPORTED = "the driver says: Not Supported"
WHOLE_GPU = "MIG is on: only the whole GPU has it"
NEEDS_GPM = "MIG is on: it is read of each MIG device"


def gpu(device: int, **changes: object) -> GpuEnvironment:
    """A GPU as its driver left it."""
    return GpuEnvironment(
        device=device,
        name="NVIDIA H200",
        uuid=f"GPU-6f1c2d3e-{device}",
        memory_bytes=141 * 2**30,
        driver="580.65.06",
        cuda_driver="13.0",
        power_limit_w=700.0,
        persistence=True,
        ecc=True,
        mig=False,
        compute_capability="9.0",
        vbios="96.00.BC.00.01",
        power_limit_default_w=700.0,
        sm_clock_max_hz=1.98e9,
        memory_clock_max_hz=3.201e9,
        application_sm_clock_hz=1.98e9,
        application_memory_clock_hz=3.201e9,
        default_sm_clock_hz=1.98e9,
        default_memory_clock_hz=3.201e9,
        compute_mode="default",
        pcie_generation=5,
        pcie_width=16,
        pcie_generation_max=5,
        pcie_width_max=16,
    ).model_copy(update=changes)


def figures(device: int, requests: int, **changes: object) -> GpuFigures:
    """Everything observed; `changes` may take values away, with the reason in `unsupported`."""
    return GpuFigures(
        device=device,
        name="NVIDIA H200",
        utilization_mean=0.97,
        memory_bytes_max=31 * 2**30,
        power_w_mean=512.5,
        energy_j=5125.0,
        energy_j_per_inference=5125.0 / max(requests, 1),
        temperature_c_max=61.0,
        sm_clock_hz_mean=1.755e9,
        throttle_reasons=("sw_power_cap",),
        foreign_processes=(),
        memory_clock_hz_mean=3.201e9,
        sm_activity_mean=0.412,
        sm_occupancy_mean=0.213,
        tensor_activity_mean=0.187,
        dram_activity_mean=0.345,
        pcie_tx_bytes_per_s_mean=1.2e9,
        pcie_rx_bytes_per_s_mean=3.4e8,
        ecc_errors=0,
        server_memory_bytes_max=29 * 2**30,
        idle_power_w=118.0,
        idle_energy_j_per_inference=1180.0 / max(requests, 1),
        energy_j_by_power=5088.0,
    ).model_copy(update=changes)


def without(gpu: GpuFigures, reasons: dict[str, str]) -> GpuFigures:
    return gpu.model_copy(update=dict.fromkeys(reasons) | {"unsupported": reasons})


def mig_figures(requests: int) -> tuple[GpuFigures, ...]:
    of_device = ("sm_activity", "sm_occupancy", "tensor_activity", "dram_activity", "utilization")
    whole = {name: NEEDS_GPM for name, field in READ_AS.items() if field in of_device}
    kept = ("sm_activity", "sm_occupancy", "tensor_activity", "dram_activity", "memory_bytes", "processes")
    part = {name: WHOLE_GPU for name, field in READ_AS.items() if field not in kept}
    return (
        without(figures(0, requests), whole),
        without(figures(0, requests, mig_instance=3, name="NVIDIA H200 MIG 3g.71gb"), part),
        without(
            figures(0, requests, mig_instance=5, name="NVIDIA H200 MIG 1g.18gb"),
            part | {"server_memory_bytes_max": NO_SERVER_PROCESS},
        ),
    )


def two_gpus(point: PointResult) -> PointResult:
    lacking = {"pcie_tx_bytes_per_s_mean": NOT_SUPPORTED, "pcie_rx_bytes_per_s_mean": NOT_SUPPORTED}
    second = figures(1, point.requests, power_w_mean=498.2, energy_j=4982.0, sm_activity_mean=0.398)
    return point.model_copy(
        update={
            "gpu": (figures(0, point.requests), without(second, lacking)),
            "gpu_probe": GpuProbe(source="nvml", readings=4800, interval_s=0.05, cpu_cores=0.0042),
        }
    )


def run_on_two() -> RunResult:
    """On two GPUs, the second of them with other clocks; some figures have reasons instead."""
    run = factory.run_of(TWO_GPUS, gpu=True)
    slower = gpu(
        1,
        application_sm_clock_hz=1.2e9,
        power_limit_w=500.0,
        pcie_generation=1,
        vbios=None,
        unsupported={"vbios": NOT_SUPPORTED},
    )
    half = factory.artifact(name="minilm-fp16").model_copy(update={"dtype": "fp16"})
    half = half.model_copy(update={"parity": half.parity.model_copy(update={"tolerance": 0.02})})
    environment = run.environment.model_copy(
        update={
            "gpus": (gpu(0), slower),
            "server_mode": "docker",
            "provider_options": {"precision_mode": "FP16", "max_workspace_size_bytes": "1073741824"},
            "backend": "onnxruntime, NVIDIA's C++ backend",
            "backend_version": "1.22.0",
            "server_image": f"example/tritonserver@sha256:{'ab12' * 16}",
            "server_command": ("docker", "run", "--gpus", "device=0,1", "--name", "harness <1>"),
        }
    )
    points = tuple(two_gpus(p) for p in run.points)
    return run.model_copy(update={"environment": environment, "points": points, "other_models": (half,)})


def run_on_mig() -> RunResult:
    run = factory.run_of(factory.ONE_POINT.model_copy(update={"server": Server(kind="gpu")}), gpu=True)
    parts = tuple(
        gpu(0, mig=True, mig_instance=i, name=f"NVIDIA H200 MIG {size}", memory_bytes=b * 2**30)
        for i, size, b in ((3, "3g.71gb", 70), (5, "1g.18gb", 18))
    )
    environment = run.environment.model_copy(update={"gpus": (gpu(0, mig=True), *parts)})
    points = tuple(p.model_copy(update={"gpu": mig_figures(p.requests)}) for p in run.points)
    return run.model_copy(update={"environment": environment, "points": points})


def readings(
    window: Window, devices: tuple[tuple[int, int | None], ...] = ((0, None), (1, None))
) -> list[GpuReading]:
    """At 20 Hz from 2 s before the window to its end, each GPU a little behind the last; memory once a
    second, activities ten times."""
    made = []
    count = int((window.seconds + 2) * 20) + 1
    for i in range(count):
        for place, (device, mig) in enumerate(devices):
            wave = math.sin((i - 3 * place) / 11)
            loaded = i >= 40
            made.append(
                GpuReading(
                    at_ns=window.start_ns + int((i / 20 - 2) * 1e9) + place,
                    device=device,
                    mig_instance=mig,
                    utilization=0.97 if loaded else 0.0,
                    memory_bytes=(31 - place) * 2**30 if i % 20 == 0 else None,
                    power_w=500 + 60 * wave if loaded else 118.0,
                    energy_j=i * 25.0,
                    temperature_c=60.0 if i % 20 == 0 else None,
                    sm_clock_hz=1.98e9 if i < 100 else 1.755e9,
                    memory_clock_hz=3.2e9,
                    throttle_reasons=(),
                    sm_activity=(0.4 + 0.1 * wave if loaded else 0.0) if i % 2 else None,
                    tensor_activity=(0.2 + 0.05 * wave if loaded else 0.0) if i % 2 else None,
                    dram_activity=(0.3 + 0.05 * wave if loaded else 0.0) if i % 2 else None,
                )
            )
    return made
