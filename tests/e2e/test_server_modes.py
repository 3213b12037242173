"""The ways to run Triton, by the real command line. Docker is a stand-in that can hang, and that has GPUs.

What a real engine can show, tests/e2e/test_container_engine.py does.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docker import IMAGE, Docker
from tests.e2e.conftest import HARNESS, ONE, TWO, Finished, Workplace, valid, wait_for
from tests.e2e.test_command_line import in_process
from tests.nvml import NvmlDouble
from tests.store.broken_scenarios import GOOD

IN_DOCKER = ("--server", "docker", "--image", IMAGE)

IMPATIENT = """
from harness.triton import docker
docker.ANSWER_LIMIT_S = 2.0
from harness.cli import main
main()
"""


@pytest.fixture
def with_docker(workplace: Workplace, docker: Docker) -> Workplace:
    workplace.env.update(docker.env)
    return workplace


def assert_one_sentence(done: Finished, code: int, *said: str) -> None:
    assert done.code == code, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("harness: "))
    assert all(word in line for word in said), line
    assert "Traceback" not in done.stderr


def environment(done: Finished) -> dict[str, Any]:
    found: dict[str, Any] = valid(done)["environment"]
    return found


def test_a_killed_harness_leaves_no_container_and_a_run_does_not_go_on_in_another_mode(
    with_docker: Workplace, docker: Docker
) -> None:
    scenario = with_docker.scenario(TWO)
    process = with_docker.start("run", scenario, *IN_DOCKER)
    (run,) = wait_for(lambda: with_docker.runs)
    wait_for(lambda: (run / "result.json").exists())
    wait_for(lambda: docker.running)
    process.kill()
    process.wait()
    wait_for(lambda: not docker.running, limit_s=20)
    assert_one_sentence(with_docker.run("run", run, "--resume"), 2, "another server mode, server image")
    other = IMAGE.replace("5a", "5b")
    (docker.folder / "images").write_text(f"{IMAGE}\n{other}\n")
    done = with_docker.run("run", run, "--resume", "--server", "docker", "--image", other)
    assert_one_sentence(done, 2, "begun with another server image:")
    done = with_docker.run("run", run, "--resume", *IN_DOCKER, "--json")
    assert environment(done)["server_image"] == IMAGE
    assert done.document["finished_at"] is not None


def test_what_a_container_lacks_is_one_sentence(
    with_docker: Workplace, docker: Docker, nvml_double: NvmlDouble
) -> None:
    scenario = with_docker.scenario()
    other = IMAGE.replace("5a", "5b")
    done = with_docker.run("run", scenario, "--server", "docker", "--image", other)
    assert_one_sentence(done, 4, "No such image", f"docker pull {other}")
    with_docker.env.update(nvml_double())
    done = with_docker.run("run", scenario, *IN_DOCKER, "--set", "server.kind=gpu")
    assert_one_sentence(done, 4, "could not select device driver", "NVIDIA Container Toolkit")
    done = with_docker.run("run", scenario, "--server", "docker", "--image", "example/tritonserver:24.10-py3")
    assert_one_sentence(done, 2, "names no digest", "docker image inspect", "example/tritonserver:24.10-py3")
    docker.be("hung")
    with_docker.program = [sys.executable, "-c", IMPATIENT]
    done = with_docker.run("run", scenario, *IN_DOCKER)
    assert_one_sentence(done, 4, "docker did not answer", "docker info")
    with_docker.program = HARNESS
    docker.be("hung", False)
    docker.be("down")
    done = with_docker.run("run", scenario, *IN_DOCKER)
    assert_one_sentence(done, 4, "Cannot connect to the Docker daemon", "start the Docker daemon")
    with_docker.env["PATH"] = str(Path(sys.executable).parent)
    done = with_docker.run("run", scenario, *IN_DOCKER)
    assert_one_sentence(done, 4, "no docker on PATH")


@pytest.mark.parametrize("gpus", [("", "all"), ("[1]", "device=1"), ("[3, 1]", '"device=1,3"')])
def test_a_container_gets_the_gpus_that_the_scenario_names(
    with_docker: Workplace, docker: Docker, nvml_double: NvmlDouble, gpus: tuple[str, str]
) -> None:
    docker.be("gpus")
    with_docker.env.update(nvml_double("gpus=4"))
    named, wanted = gpus
    text = ONE.replace("max_batch: 8", "max_batch: 8, kind: gpu" + (f", gpus: {named}" if named else ""))
    with_docker.run("run", with_docker.scenario(text), *IN_DOCKER)  # Triton finds none in the end
    (run,) = (call for call in docker.calls if call[0] == "run")
    assert f"--gpus={wanted}" in run
    config = (with_docker.path / "model_repo" / "double" / "config.pbtxt").read_text()
    assert ("gpus: [0]" if named == "[1]" else "gpus: [1, 0]" if named else "kind: KIND_GPU") in config


def test_a_container_is_served_from_at_the_asked_ports(with_docker: Workplace, docker: Docker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = with_docker.run("serve", "double.onnx", *IN_DOCKER, "--http-port", port, "--grpc-port", "0")
    assert_one_sentence(done, 4, f"port {port}")
    options = ("--http-port", port, "--grpc-port", "0", "--for-s", "1", "--json")
    done = with_docker.run("serve", "double.onnx", *IN_DOCKER, *options)
    assert done.code == 0, done.stderr
    assert done.document["http"] == f"http://127.0.0.1:{port}"
    assert done.document["backend"] == "onnxruntime on Triton's Python backend"
    assert not docker.running


def test_an_installed_tritonserver(workplace: Workplace, tritonserver: Path) -> None:
    scenario = workplace.scenario(ONE)
    workplace.env["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = workplace.run("run", scenario, "--server", "binary")
    assert_one_sentence(done, 4, "no tritonserver on PATH")
    assert "model double" not in done.stderr, "the model was exported first, which may take minutes"
    workplace.env["PATH"] = f"{tritonserver}:{workplace.env['PATH']}"
    done = workplace.run("run", scenario, "--server", "binary", "--json")
    where = environment(done)
    assert (where["server_mode"], where["server_image"]) == ("binary", None)
    assert where["server_command"][0] == str(tritonserver / "tritonserver")
    assert not any("--backend-directory" in word for word in where["server_command"])
    assert where["backend"] == "onnxruntime on Triton's Python backend"
    (point,) = done.document["points"]
    assert point["host"]["server_cpu_cores"] > 0.01
    found = {f["what"]: f["found"] for f in workplace.run("doctor", "--json").document["findings"]}
    assert str(tritonserver / "tritonserver") in found["tritonserver"]


def test_the_embedded_server_says_how_it_runs(workplace: Workplace) -> None:
    import onnxruntime

    where = environment(workplace.run("run", workplace.scenario(ONE), "--server", "embedded", "--json"))
    assert (where["server_mode"], where["backend_version"]) == ("embedded", onnxruntime.__version__)
    assert any("--backend-directory=" in word for word in where["server_command"])


def test_doctor_names_docker(with_docker: Workplace, docker: Docker) -> None:
    def said() -> str:
        findings = with_docker.run("doctor", "--json").document["findings"]
        return str(next(f["found"] for f in findings if f["what"] == "docker"))

    assert "engine 28.2.2" in said()
    docker.be("down")
    assert "start the Docker daemon" in said()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--server", "embedded", "--url", "http://127.0.0.1:9"], "--server starts a Triton and --url names"),
        (["--server", "remote"], "none of embedded, binary, docker"),
        (["--server", "docker"], "--image NAME@sha256:"),
        (["--image", IMAGE], "--image is of a container"),
        (["--server", "binary", "--shm-size", "1g"], "--shm-size is of a container"),
        (["--url", "http://127.0.0.1:9", "--network", "host"], "--network is of a container"),
        ([*IN_DOCKER, "--network", "none"], "--network none is none of bridge, host"),
        ([*IN_DOCKER, "--shm-size", "lots"], "--shm-size 'lots' is no size"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    for command in (["run", str(tmp_path / "s.yaml")], ["serve", "minilm"]):
        if command[0] == "run" or "--url" not in options:
            assert_one_sentence(Finished(*in_process(monkeypatch, *command, *options)), 2, said)
