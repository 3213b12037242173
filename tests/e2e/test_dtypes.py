"""One run over several dtypes, and scenarios for a GPU where there is none."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness.commands.sittings import check_environment
from harness.probe.gpus import availability
from harness.schema.errors import InputError
from harness.schema.result import Environment
from harness.store.run_folder import RunFolder
from tests.e2e.conftest import ONE, Workplace, valid
from tests.report.factory import environment

BOTH = ONE + "dtype: [fp32, fp16]\nprotocol: [http, grpc]\n"
SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def measured(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, Any]]:
    """Where a run over both dtypes and both protocols was made, and its document."""
    workplace = Workplace(tmp_path_factory.mktemp("dtypes"))
    shutil.copy(tiny_model, workplace.path / "double.onnx")
    return workplace, valid(workplace.run("run", workplace.scenario(BOTH), "--json"))


def test_each_dtype_is_exported_once_served_in_its_turn_and_kept_with_its_proof(
    measured: tuple[Workplace, dict[str, Any]],
) -> None:
    workplace, document = measured
    assert [point["params"]["dtype"] for point in document["points"]] == ["fp32", "fp32", "fp16", "fp16"]
    (other,) = document["other_models"]
    assert (document["model"]["name"], other["name"]) == ("double", "double-fp16")
    assert (document["model"]["dtype"], other["dtype"]) == (None, "fp16")
    assert other["parity"]["reference"] == "the FP32 file"
    for point in document["points"]:
        assert point["requests"] > 0 and point["errors"] == 0
        assert point["server"]["requests"] == point["requests"], "Triton counts the model that was asked"
    repository = {path.name for path in (workplace.path / "model_repo").iterdir() if path.is_dir()}
    assert repository == {"double", "double-fp16"}
    rebuilt = workplace.run("report", document["path"], "--json")
    assert rebuilt.document["other_models"] == document["other_models"]


def test_a_run_goes_on_with_the_same_files_of_every_dtype_or_not_at_all(
    measured: tuple[Workplace, dict[str, Any]], workplace: Workplace
) -> None:
    where, document = measured
    run = workplace.path / Path(document["path"]).relative_to(where.path)
    shutil.copytree(document["path"], run)
    *before, last = document["points"]
    shutil.rmtree(run / "points" / last["id"])
    kept = (run / "other_models.json").read_text()
    (models,) = [json.loads(kept)]
    models[0]["sha256"] = "0" * 64
    (run / "other_models.json").write_text(json.dumps(models))
    refused = workplace.run("run", run, "--resume", "--json")
    assert refused.code == 2
    assert "begun with another model" in refused.stderr
    (run / "other_models.json").write_text(kept)
    resumed = workplace.run("run", run, "--resume", "--json")
    assert [point["id"] for point in valid(resumed)["points"]] == [point["id"] for point in (*before, last)]
    assert resumed.document["points"][:-1] == before, "they were not measured again"


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"pcie_generation": 1, "pcie_width": 8, "unsupported": {"ecc": "not on this board"}}, None),
        ({"uuid": "GPU-other"}, "another gpus"),
        ({"power_limit_w": 350.0}, "another gpus"),
        ({"driver": "580.1"}, "another gpus"),
    ],
)
def test_a_run_goes_on_with_the_same_gpu_though_its_idle_link_stepped_down(
    tmp_path: Path, change: dict[str, Any], refused: str | None
) -> None:
    before = environment(gpu=True)
    now = before.model_copy(update={"gpus": tuple(g.model_copy(update=change) for g in before.gpus)})
    check_environment(RunFolder(tmp_path), before, measured=False)
    with nullcontext() if refused is None else pytest.raises(InputError, match=refused):
        check_environment(RunFolder(tmp_path), now, measured=True)


def test_points_may_have_several_providers_and_none_of_them_falls_back_to_the_cpu(tmp_path: Path) -> None:
    def with_(provider: str) -> Environment:
        return environment(gpu=True).model_copy(update={"execution_provider": provider})

    check_environment(RunFolder(tmp_path), with_("CUDAExecutionProvider"), measured=False)
    check_environment(RunFolder(tmp_path), with_("TensorrtExecutionProvider"), measured=True)
    with pytest.raises(InputError, match="another execution provider"):
        check_environment(RunFolder(tmp_path), with_("CPUExecutionProvider"), measured=True)


def test_export_names_what_it_converted(workplace: Workplace) -> None:
    made = workplace.run("export", "double.onnx", "--dtype", "fp16", "--json")
    assert made.code == 0, made.stderr
    assert (made.document["name"], made.document["dtype"]) == ("double-fp16", "fp16")
    assert "the FP32 file" in workplace.run("export", "double.onnx", "--dtype", "fp16").stdout
    wrong = workplace.run("export", "double.onnx", "--dtype", "fp8")
    assert wrong.code == 2
    assert "'fp32', 'fp16'" in wrong.stderr and wrong.stderr.count("\n") == 1


@pytest.mark.skipif(availability() is None, reason="there is a GPU here")
@pytest.mark.parametrize("name", ["gpu-smoke", "gpu-transport"])
def test_a_scenario_for_gpus_is_refused_in_one_sentence_where_there_is_none(
    workplace: Workplace, tmp_path: Path, name: str
) -> None:
    file = SCENARIOS / f"{name}.yaml"
    workplace.env = {"HARNESS_CACHE": str(tmp_path / "cache")}
    planned = workplace.run("run", file, "--dry-run")
    assert planned.code == 0, planned.stderr
    done = workplace.run("run", file)
    assert done.code == 2
    assert f"{name} asks for a GPU (server.kind: gpu), and there is none here (no NVIDIA" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not workplace.runs
    assert not (tmp_path / "cache").exists(), "it was refused before the export"
