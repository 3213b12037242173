"""`harness gpu-check`: refused without a GPU; over the double for NVML, with the model on the CPU, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.schema.gpu_check import GpuCheck
from tests import nvml
from tests.e2e.conftest import TINY, Finished, Workplace
from tests.interrupts import heed_sigint
from tests.nvml import NvmlDouble

ON_THE_CPU = """
from pathlib import Path
from harness.commands import gpu_check
from harness.probe.watch import local_watch
gpu_check.SMOKE, gpu_check.DIRECT = Path("smoke.yaml"), Path("direct.yaml")
gpu_check.ROUNDS = 1
local_watch.RESTLESS_S = 2.0
from harness.cli import main
main()
"""
"""The command with other scenarios: tiny ones, of `kind: cpu`, which need no GPU to compute. The double is
never idle, and to wait for it as long as for a GPU would show no more."""


def check(workplace: Workplace, environment: dict[str, str], *arguments: str) -> Finished:
    tiny = TINY.replace("server: {", "server: {kind: cpu, ").replace("duration_s: 2", "duration_s: 1")
    workplace.scenario(tiny, "smoke.yaml")
    full_batches = tiny.replace("[4, 8]", "8").replace("name: small,", "name: full, batch: 8,")
    workplace.scenario(full_batches, "direct.yaml")
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_CPU, "gpu-check", *arguments],
        cwd=workplace.path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        preexec_fn=heed_sigint,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.triton
def test_every_figure_is_taken_and_the_evidence_is_kept(
    workplace: Workplace, nvml_double: NvmlDouble
) -> None:
    done = check(workplace, nvml_double("gpus=1"), "--json", "--write", "docs/gpu.md")
    assert done.code == 0, (done.stderr, done.stdout[:20_000])
    found = GpuCheck.model_validate_json(done.stdout)
    folder = Path(found.path)
    assert json.loads((folder / "gpu-check.json").read_text()) == json.loads(done.stdout)
    page = (workplace.path / "docs" / "gpu.md").read_text()
    assert page == (folder / "gpu.md").read_text()
    assert (folder / found.run / "report.html").is_file()
    assert found.recording is not None
    assert "nvmlDeviceGetTotalEnergyConsumption" in (folder / found.recording).read_text()

    assert [point.label for point in found.points] == ["max_batch 4", "max_batch 8"]
    comparison = found.comparison
    assert comparison is not None and len(comparison.rounds) == 1
    for each in comparison.rounds:
        assert each.direct.provider == "CPUExecutionProvider"
        assert each.triton_inferences_per_s is not None
        assert each.ratio == pytest.approx(each.triton_inferences_per_s / each.direct.inferences_per_s)
    # the double's counter is its power times the clock, so both ways to the energy are the same
    assert len(found.energy) == 2
    for energy in found.energy:
        assert energy.energy_j == pytest.approx(nvml.POWER_W * energy.seconds, rel=0.02)
        assert energy.ratio == pytest.approx(1, abs=0.02)
    assert found.probe is not None and found.probe.readings > 20
    assert found.client is not None and 0 < found.client.cpu_share < 1.2
    assert found.failures == ()


def test_without_a_gpu_it_is_refused_and_nothing_is_written(workplace: Workplace) -> None:
    done = workplace.run("gpu-check", "--write", "gpu.md", timeout_s=60)
    if "no GPU to check" not in done.stderr:
        pytest.skip("this machine has a GPU")
    assert done.code == 4
    *told, refused = done.stderr.strip().splitlines()
    assert "no GPU to check" in refused and all("ships with harness is meant" in line for line in told)
    assert not (workplace.path / "gpu.md").exists()
    assert not (workplace.path / "results").exists()
