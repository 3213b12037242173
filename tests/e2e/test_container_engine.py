"""`--server docker` with a real engine: Debian's `docker.io`, and an image that is made on the spot."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.schema.errors import ServerError
from harness.triton.docker import Container, DockerServer
from harness.triton.repository import write_model
from tests.container_engine import Engine, engine
from tests.e2e.conftest import HARNESS, ONE, TINY, Workplace, ended, under_load, valid, wait_for
from tests.triton.models import double, settings

__all__ = ["engine"]

LONG = TINY.replace("[4, 8]", "8").replace("duration_s: 2", "duration_s: 60")


@pytest.fixture
def beside(workplace: Workplace, engine: Engine) -> Workplace:
    """A folder on the engine's machine, as it were."""
    workplace.env.update(engine.env)
    workplace.program = [*engine.inside, *HARNESS]
    return workplace


def in_docker(engine: Engine) -> tuple[str, ...]:
    return "--server", "docker", "--image", engine.image


def test_a_run_in_a_container(beside: Workplace, engine: Engine) -> None:
    done = beside.run("run", beside.scenario(ONE), *in_docker(engine), "--json")
    where = valid(done)["environment"]
    assert (where["server_mode"], where["server_image"]) == ("docker", engine.image)
    assert where["backend"] == "onnxruntime on Triton's Python backend"
    (point,) = done.document["points"]
    assert point["requests"] == point["server"]["requests"] > 0
    assert point["host"]["server_cpu_cores"] > 0.01, "the container's processes were not seen"
    assert not engine.running


def test_a_container_that_somebody_stops_or_kills_spoils_its_point_only(
    beside: Workplace, engine: Engine
) -> None:
    text = LONG.replace("max_batch: 8", "max_batch: [1, 8]")
    process = beside.start("run", beside.scenario(text), *in_docker(engine), "--json")
    first = under_load(beside, process)
    engine.ask("stop", *engine.running)
    under_load(beside, process, after=[first])
    engine.ask("kill", *engine.running)
    done = ended(process)
    assert done.code == 3, done.stderr
    stopped, killed = (" ".join(point["reasons"]) for point in done.document["points"])
    # How Triton ends with clients still there is its own affair: with a status, or now and then by a SIGSEGV.
    assert re.search(
        r"Triton's container (exited with status \d+|was killed by SIG[A-Z]+) after it was", stopped
    )
    assert stopped.endswith("after it was told to stop (SIGTERM)")
    assert "Triton's container was killed by SIGKILL" in killed
    assert not engine.running


def test_a_killed_harness_leaves_no_container(beside: Workplace, engine: Engine) -> None:
    process = beside.start("run", beside.scenario(LONG), *in_docker(engine))
    under_load(beside, process)
    assert engine.running
    process.kill()
    process.wait()
    wait_for(lambda: not engine.running)


def test_an_engine_that_dies_in_a_point_is_named_and_leaves_no_container(
    beside: Workplace, engine: Engine
) -> None:
    """On the host's network and with its shared memory the container goes on serving."""
    text = LONG + "shared_memory: system\n"
    process = beside.start("run", beside.scenario(text), *in_docker(engine), "--network", "host", "--json")
    under_load(beside, process)
    engine.die()
    done = ended(process)
    assert done.code == 3, done.stderr
    (point,) = done.document["points"]
    assert "docker's engine went away while Triton's container ran" in " ".join(point["reasons"])
    assert point["requests"] > 50 and point["errors"] == 0
    assert not engine.living(), "the container outlives its engine, and nobody ended it"
    engine.start()


def not_started(image: str, folder: Path, meanwhile: Callable[[str], None]) -> str:
    """Why Triton could not serve a model in that image. `meanwhile` gets its log again and again."""
    log, over = folder / "log", threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            meanwhile(log.read_text() if log.exists() else "")

    model = double(folder)
    with pytest.raises(ServerError) as told, DockerServer(Container(image), folder / "models", log) as triton:
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            triton.start(lambda repository: write_model(repository, model, settings(), gpu=False))
        finally:
            over.set()
            thread.join()
    assert "\n" not in str(told.value)
    return str(told.value)


LACKING = {
    "tritonserver": (
        {"setting": "PATH=/usr/bin:/bin"},
        "exec tritonserver failed: No such file or directory",
    ),
    "a library": ({"ran": "rm /opt/tritonserver/lib/libb64*"}, "loading shared libraries: libb64"),
    "a library of the backend": (
        {"setting": "LD_LIBRARY_PATH=/"},
        "can't start a model instance: error while",
    ),
}


@pytest.mark.parametrize("what", LACKING)
def test_what_an_image_lacks_is_told(
    what: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engine.env.items():
        monkeypatch.setenv(name, value)
    change, words = LACKING[what]
    assert words in not_started(engine.variant(**change), tmp_path, lambda _: None)
    assert not engine.running


def test_an_engine_that_dies_while_a_model_loads_is_named(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in engine.env.items():
        monkeypatch.setenv(name, value)

    def kill_engine(log: str) -> None:
        if "loading: double" in log:
            engine.die()

    words = not_started(engine.image, tmp_path, kill_engine)
    assert "docker's engine went away while Triton's container ran" in words and "refused" not in words
    assert not engine.living()
    engine.start()
