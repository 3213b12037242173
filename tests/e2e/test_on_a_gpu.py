"""A real GPU, through the real command line. `make gpu-check` runs these."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import TINY, Workplace, valid

ON_THE_GPU = TINY.replace("server: {", "server: {kind: gpu, ").replace("duration_s: 2", "duration_s: 5")


@pytest.mark.gpu
@pytest.mark.triton
def test_the_gpu_computes_and_is_observed(workplace: Workplace) -> None:
    result = valid(workplace.run("run", workplace.scenario(ON_THE_GPU), "--json"))
    assert result["environment"]["execution_provider"] == "CUDAExecutionProvider"
    for point in result["points"]:
        assert point["errors"] == 0 and point["requests"] > 100
        used = [gpu for gpu in point["gpu"] if gpu["server_memory_bytes_max"]]
        assert used, f"the server's processes are on no GPU: {point['gpu']}"
        for gpu in point["gpu"]:
            assert gpu["foreign_processes"] == []
            assert gpu["power_w_mean"] > 10 and gpu["sm_clock_hz_mean"] > 1e8
            # a null figure has its reason
            for name, value in gpu.items():
                assert value is not None or name in gpu["unsupported"] or name == "mig_instance", name
        assert point["gpu_probe"]["source"] == "nvml"


@pytest.mark.gpu
@pytest.mark.triton
def test_fp16_and_fp32_are_served_one_after_the_other(workplace: Workplace) -> None:
    both = ON_THE_GPU.replace("[1, 8]", "8") + "dtype: [fp32, fp16]\n"
    result = valid(workplace.run("run", workplace.scenario(both), "--json"))
    assert [point["errors"] for point in result["points"]] == [0, 0]
    assert [model["dtype"] for model in result["other_models"]] == ["fp16"]


@pytest.mark.gpu
def test_what_a_gpu_answers_replays(workplace: Workplace) -> None:
    recorded = workplace.run("probe", "--record", "nvml.txt", "--for-s", "2")
    assert recorded.code == 0, recorded.stderr
    assert "nvmlDeviceGetTotalEnergyConsumption" in (workplace.path / "nvml.txt").read_text()
