"""docs/gpu.md: every figure that was taken stands there, and none that wasn't."""

from __future__ import annotations

from harness.report.gpu_check import gpu_page
from harness.schema.gpu_check import (
    Beside,
    ClientShare,
    Comparison,
    Direct,
    EnergyCheck,
    GpuCheck,
    SmokePoint,
)
from harness.schema.result import GpuProbe
from tests.report.factory import artifact, environment

NOTHING = GpuCheck(
    started_at="2026-11-22T20:00:00+00:00",
    finished_at="2026-11-22T20:05:00+00:00",
    command="harness gpu-check",
    path="/results/gpu-check",
    environment=environment(gpu=True),
    run="20261122T200000Z-gpu-smoke",
    recording=None,
    points=(),
    comparison=None,
    energy=(),
    client=None,
    probe=None,
    failures=("nothing was measured",),
)

POINT = SmokePoint(
    label="dtype fp16 | max_batch 8",
    verdict="valid",
    reasons=(),
    missed=(),
    inferences_per_s=12345.6,
    inferences_per_s_interval_95=(12000.0, 12700.0),
    p50_s=0.00211,
    p99_s=None,
    sm_activity=0.87,
    energy_j_per_inference=0.0432,
    idle_energy_j_per_inference=0.0061,
)

DIRECT = Direct(provider="CUDAExecutionProvider", calls=900, inferences_per_s=2880.0, p50_s=0.0111)

WHOLE = NOTHING.model_copy(
    update={
        "points": (POINT,),
        "comparison": Comparison(
            model=artifact(name="encoder"),
            axes={"tokens": 128},
            batch=32,
            load="concurrency 4",
            rounds=(
                Beside(direct=DIRECT, triton_inferences_per_s=2592.0, triton_p50_s=0.049, ratio=0.9),
                Beside(
                    direct=DIRECT,
                    triton_inferences_per_s=None,
                    triton_p50_s=None,
                    ratio=None,
                    why="GPU 0 slowed itself down",
                ),
            ),
            ratio=0.9,
        ),
        "energy": (
            EnergyCheck(
                label="point 1", device=0, seconds=10.0, energy_j=5012.0, energy_j_by_power=4911.8, ratio=0.98
            ),
        ),
        "client": ClientShare(
            label="concurrency 32",
            protocol="grpc",
            requests_per_s=9876.5,
            cpu_share=0.62,
            cpu_s_per_request=63e-6,
        ),
        "probe": GpuProbe(source="nvml", readings=400, interval_s=0.05, cpu_cores=0.0071),
        "failures": (),
    }
)


def test_a_whole_check_has_all_of_its_figures() -> None:
    page = gpu_page(WHOLE)
    assert "**Every check passed.**" in page
    assert "| dtype fp16 \\| max_batch 8 |" in page
    for figure in ("12,346 (12,000–12,700)", "2.11 ms", "87.0%", "0.0432 J", "0.00610 J"):
        assert figure in page
    assert "**90.0%** of the session's throughput" in page
    assert "| 2 | 2,880 | 11.1 ms | GPU 0 slowed itself down | – | – |" in page
    assert "| point 1 | 0 | 10.0 | 5,012 J | 4,912 J | 0.980 |" in page
    assert "9,876 requests a second over grpc" in page and "**62.0%** of a core, 63 µs a request" in page
    assert "0.71% of a core at 20 readings a second" in page


def test_a_figure_that_was_not_taken_is_not_there() -> None:
    page = gpu_page(NOTHING)
    assert "**1 check failed.**" in page and "- nothing was measured" in page
    for section in ("Behind Triton", "Energy", "The client", "What the probe cost"):
        assert section not in page


def test_the_machine_is_named() -> None:
    page = gpu_page(WHOLE)
    assert "| GPU 0 | NVIDIA H100 80GB HBM3, driver 570.86.15, CUDA 12.8, power limit 700 W, ECC on |" in page
