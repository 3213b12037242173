"""The CronJob: parsed, and its command run by a real shell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from harness.schedule.kubernetes_cron_job import manifest
from harness.schema.errors import InputError
from tests.schedule.nights import NAMES, ends_with, night


def parsed(files: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The claim and the job."""
    (text,) = files.values()
    claim, job = yaml.safe_load_all(text)
    return claim, job


def pod(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["spec"]["jobTemplate"]["spec"]["template"]["spec"])


def expanded(argument: str) -> str:
    """As the kubelet does without such variables: $$ is $, and $(NAME) must not be there."""
    assert not re.search(r"(?<!\$)(\$\$)*\$\(", argument), "it is a variable"
    return argument.replace("$$(", "$(")


@settings(max_examples=40)
@given(NAMES.filter(lambda name: ":" not in name and "$$" not in name))
def test_paths_stay_what_they_are(name: str) -> None:
    tonight = night(name)
    (container,) = pod(parsed(manifest(tonight, "registry/harness:1", 1))[1])["containers"]
    assert list(map(expanded, container["args"])) == [tonight.scenario, "--results", tonight.results]
    assert container["volumeMounts"][0]["mountPath"] == tonight.results


def test_no_two_nights_no_second_try_a_gpu_and_a_volume_for_results() -> None:
    claim, job = parsed(manifest(night(), "registry/harness:1", 2))
    assert claim["kind"] == "PersistentVolumeClaim" and job["kind"] == "CronJob"
    spec = job["spec"]
    assert spec["schedule"] == "5 3 * * *" and spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0 and pod(job)["restartPolicy"] == "Never"
    (container,) = pod(job)["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 2}}
    named = {volume["name"]: volume for volume in pod(job)["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(named)
    assert named["results"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod(parsed(manifest(night(), "x", 0))[1])["containers"][0]["resources"] == {}


@settings(max_examples=30)
@given(NAMES)
def test_its_name_is_one_that_kubernetes_takes(name: str) -> None:
    found = night(name * 9).name
    assert len(found) <= 52 and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", found)


@pytest.mark.parametrize("code", range(5))
def test_an_inconclusive_night_is_no_failed_job(tmp_path: Path, code: int) -> None:
    (container,) = pod(parsed(manifest(night(), "x", 1))[1])["containers"]
    ends_with(code, tmp_path, "harness")
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [*map(expanded, container["command"]), "a 'b' $HOME.yaml", "--results", str(tmp_path / "r")]
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if code == 3 else code), done.stderr
    assert done.stdout.splitlines()[:2] == ["<nightly>", "<a 'b' $HOME.yaml>"]


@pytest.mark.parametrize("image", ["", "a b", "a\nb"])
def test_what_is_no_image_or_no_volume_is_refused(image: str) -> None:
    with pytest.raises(InputError, match="is no image"):
        manifest(night(), image, 1)
    with pytest.raises(InputError, match="is no place for a volume"):
        manifest(night("a:b"), "image", 1)
