"""`--server docker`: its exact command lines, shown to Docker's own client, and its life in a stand-in."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.clock import boot_id
from harness.schema.errors import HarnessError, InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.schema.point import ServerSettings
from harness.triton import docker as containers
from harness.triton import implementation, leftovers, own, process
from harness.triton.docker import Container, DockerServer
from harness.triton.server_folder import ServerFolder
from tests.docker import IMAGE, Docker
from tests.triton.clients import floats, infer
from tests.triton.models import settings
from tests.triton.test_faults import eventually, stop

Artifacts = dict[str, ModelArtifact]
Places = tuple[Path, Path]

BOOT = boot_id()
NAME = "harness_1_2_3_0123abcd_"
FOLDER = ServerFolder.of(NAME)
REPOSITORY = FOLDER.repository


def server(
    container: Container,
    repository: Path = Path("/repo"),
    serving: ServerSettings | None = None,
    **options: Any,
) -> DockerServer:
    """One that has chosen its ports and its name, as it would at its start."""
    made = DockerServer(container, repository, Path("/log"), **options)
    made.settings = serving
    made.http_port, made.grpc_port, made.metrics_port, made.name = 18000, 18001, 18002, NAME
    return made


MOUNT = f"--mount=type=bind,source={REPOSITORY},target=/models,readonly"
BEGIN = ["docker", "run", f"--name={NAME}", f"--label=harness.boot={BOOT}", "--rm", "--init", "--pull=never"]
BEGIN += ["--log-driver=none", f"--user={os.getuid()}:{os.getgid()}", "--cap-drop=ALL"]
BEGIN += [
    "--security-opt=no-new-privileges",
    f"--mount=type=bind,source={REPOSITORY},target=/models,readonly",
]
BEGIN += ["--env=CUDA_DEVICE_ORDER=PCI_BUS_ID", "--env=ORT_DISABLE_TELEMETRY"]
PUBLISHED = [f"--publish=127.0.0.1:1800{n}:800{n}" for n in range(3)]
TRITON = [IMAGE, "tritonserver", "--model-repository=/models", "--model-control-mode=none"]
TRITON += [f"--backend-config=python,shm-region-prefix-name={NAME}"]


def listening(host: str, first: int, *more: str, gpu: bool = False) -> list[str]:
    ports = [
        word
        for number, name in enumerate(("http", "grpc", "metrics"))
        for word in (f"--{name}-address={host}", f"--{name}-port={first + number}")
    ]
    metrics = f"--allow-gpu-metrics={'true' if gpu else 'false'}"
    closed = "model-repository,shared-memory,trace,logging:harness-access=…"
    return [
        *(*ports, metrics, "--exit-timeout-secs=5", "--disable-auto-complete-config", *more),
        *(f"--http-restricted-api={closed}", f"--grpc-restricted-protocol={closed}"),
    ]


INSIDE = listening("0.0.0.0", 8000)
WITH_MEMORY = listening("0.0.0.0", 8000, "--allow-client-shm=true")
LINES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "plain": ({}, {}, [*BEGIN, "--shm-size=1g", *PUBLISHED, *TRITON, *INSIDE]),
    "shm size": ({"shm_size": "256m"}, {}, [*BEGIN, "--shm-size=256m", *PUBLISHED, *TRITON, *INSIDE]),
    "all gpus": (
        {},
        {"serving": settings(kind="auto"), "gpu": True},
        [
            *BEGIN,
            *("--shm-size=1g", "--gpus=all", *PUBLISHED),
            *TRITON,
            *listening("0.0.0.0", 8000, gpu=True),
        ],
    ),
    "one gpu": (
        {},
        {"serving": settings(kind="gpu", gpus=(2,))},
        [*BEGIN, "--shm-size=1g", "--gpus=device=2", *PUBLISHED, *TRITON, *INSIDE],
    ),
    "two gpus": (
        {},
        {"serving": settings(kind="gpu", gpus=(3, 1))},
        [*BEGIN, "--shm-size=1g", '--gpus="device=1,3"', *PUBLISHED, *TRITON, *INSIDE],
    ),
    "system shared memory": (
        {},
        {"shared_memory": "system"},
        [*BEGIN, "--ipc=host", *PUBLISHED, *TRITON, *WITH_MEMORY],
    ),
    "cuda shared memory": (
        {},
        {"shared_memory": "cuda"},
        [*BEGIN, "--ipc=host", "--pid=host", *PUBLISHED, *TRITON, *WITH_MEMORY],
    ),
    "the host's network": (
        {"network": "host"},
        {},
        [*BEGIN, "--shm-size=1g", "--network=host", *TRITON, *listening("127.0.0.1", 18000)],
    ),
    "response cache": (
        {},
        {"response_cache": True},
        [
            *BEGIN,
            *("--shm-size=1g", *PUBLISHED),
            *TRITON,
            *listening("0.0.0.0", 8000, "--cache-config=local,size=67108864"),
        ],
    ),
}


@pytest.mark.parametrize("what", LINES)
def test_command_line_is_exactly_this(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    container, options, line = LINES[what]
    assert server(Container(IMAGE, **container), **options).command_line(FOLDER) == line


def test_all_gpus_are_those_that_this_process_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    every = server(Container(IMAGE), serving=settings(kind="gpu"))
    assert "--env=CUDA_VISIBLE_DEVICES" in every.command_line(FOLDER)
    one = server(Container(IMAGE), serving=settings(kind="gpu", gpus=(1,)))
    assert "--env=CUDA_VISIBLE_DEVICES" not in one.command_line(FOLDER)


def test_ports_are_published_where_the_server_shall_listen() -> None:
    line = server(Container(IMAGE), host="127.0.0.2").command_line(FOLDER)
    assert [word for word in line if word.startswith("--publish=")] == [
        f"--publish=127.0.0.2:1800{n}:800{n}" for n in range(3)
    ]


def test_the_containers_gpus_have_numbers_of_their_own() -> None:
    """CUDA numbers what it sees from 0."""
    here = server(Container(IMAGE))
    assert here.settings_there(settings(kind="gpu", gpus=(3,))).gpus == (0,)
    assert here.settings_there(settings(kind="gpu", gpus=(3, 1))).gpus == (1, 0)
    assert here.settings_there(settings(kind="gpu")).gpus is None


@pytest.mark.parametrize(
    "image",
    ["example/tritonserver", "example/tritonserver:24.10-py3", f"{IMAGE}0", IMAGE[:-1], IMAGE.upper(),
     "example@sha512:" + "a" * 64, f"--privileged@{IMAGE.partition('@')[2]}", f" {IMAGE}", f"{IMAGE}\n", ""],
)  # fmt: skip
def test_image_without_its_digest_is_refused_with_the_way_to_find_it(image: str) -> None:
    with pytest.raises(InputError, match=r"names no digest.*docker image inspect --format"):
        Container(image)


@pytest.mark.parametrize("image", [IMAGE, IMAGE.partition("@")[2], f"host.example:5000/{IMAGE}"])
def test_image_by_its_digest_is_taken(image: str) -> None:
    assert Container(image).image == image


@pytest.mark.parametrize("size", ["", "0", "1gb", "-1g", "1 g", "one"])
def test_size_that_docker_would_not_take_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="--shm-size"):
        Container(IMAGE, shm_size=size)


@pytest.mark.parametrize("name", ["a,readonly=false", 'quo"te'])
def test_folder_that_docker_would_misread_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", f"/{name}")
    with pytest.raises(InputError, match="comma or quote"):
        server(Container(IMAGE)).prepare()


class EngineApi(http.server.BaseHTTPRequestHandler):
    """As much of Docker's engine API as makes the client say what it wants; it has no image."""

    protocol_version = "HTTP/1.1"
    asked: list[Any]

    def do_HEAD(self) -> None:
        self.answer(200, b"OK")

    do_GET = do_HEAD

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(404, json.dumps({"message": f"No such image: {self.asked[-1]['Image']}"}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.48")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"


class Sockets(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def real_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Docker's own client before an engine of ours: what it asks to be created."""
    if shutil.which("docker") is None:
        pytest.skip("Docker's own client is not on PATH: the command lines are not shown to it")
    EngineApi.asked = []
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    with Sockets(str(tmp_path / "engine"), EngineApi) as engine:
        threading.Thread(target=engine.serve_forever, args=(0.01,), daemon=True).start()
        yield EngineApi.asked
        engine.shutdown()


@pytest.mark.parametrize("what", LINES)
def test_dockers_own_client_takes_the_command_line_for_what_it_means(
    what: str, real_client: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    kind, options, _ = LINES[what]
    line = server(Container(IMAGE, **kind), **options).command_line(FOLDER)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 125 and f"No such image: {IMAGE}" in done.stderr, done.stderr
    (asked,) = real_client
    host = asked["HostConfig"]
    assert (asked["Image"], asked["Entrypoint"], asked["Labels"]) == (IMAGE, None, {"harness.boot": BOOT})
    assert asked["Cmd"] == line[line.index(IMAGE) + 1 :]
    assert sorted(asked["Env"]) == ["CUDA_DEVICE_ORDER=PCI_BUS_ID", "ORT_DISABLE_TELEMETRY=1"]
    assert asked["User"] == f"{os.getuid()}:{os.getgid()}"
    assert host["Mounts"] == [
        {"Type": "bind", "Source": str(REPOSITORY), "Target": "/models", "ReadOnly": True}
    ]
    assert (host["Binds"], host["Devices"], host["CapAdd"], host["Privileged"]) == (None, [], None, False)
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert (host["AutoRemove"], host["Init"], host["LogConfig"]["Type"]) == (True, True, "none")
    shared = options.get("shared_memory", "none")
    assert host["IpcMode"] == ("" if shared == "none" else "host")
    assert host["PidMode"] == ("host" if shared == "cuda" else "")
    sizes = {"1g": 2**30, "256m": 2**28}
    assert host["ShmSize"] == (sizes[kind.get("shm_size", "1g")] if shared == "none" else 0)
    outside = {f"800{n}/tcp": [{"HostIp": "127.0.0.1", "HostPort": f"1800{n}"}] for n in range(3)}
    own_network = kind.get("network") != "host"
    assert host["PortBindings"] == (outside if own_network else {})
    assert host["NetworkMode"] == ("default" if own_network else "host")
    serving = options.get("serving")
    gpus = () if serving is None else serving.gpus or "all"
    wanted = {
        "Driver": "",
        "Count": -1 if gpus == "all" else 0,
        "DeviceIDs": None if gpus == "all" else [str(index) for index in sorted(gpus)],
        "Capabilities": [["gpu"]],
        "Options": {},
    }
    assert (host["DeviceRequests"] or []) == ([wanted] if gpus else [])


@pytest.mark.usefixtures("real_client")
def test_dockers_own_client_says_what_the_stand_in_says(
    places: Places, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that has no image, and one that isn't there."""
    said = {}
    absent = IMAGE.replace("5a", "5b")
    for where in ("real", "stand-in"):
        if where == "stand-in":
            monkeypatch.setenv("PATH", docker.env["PATH"])
            monkeypatch.setenv("DOCKER_STAND_IN", str(docker.folder))
        line = server(Container(absent), places[1].parent).command_line(FOLDER)
        said[where] = [subprocess.run(line, capture_output=True, text=True, check=False)]
        monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
        docker.be("down")
        said[where].append(subprocess.run(line, capture_output=True, text=True, check=False))
        words = [
            done.stderr.splitlines()[0].replace("/nowhere", "/var/run/docker.sock") for done in said[where]
        ]
        said[where] = [
            (done.returncode, word.rstrip(".")) for done, word in zip(said[where], words, strict=True)
        ]
        docker.be("down", False)
    assert said["real"] == said["stand-in"]
    assert "No such image" in said["real"][0][1] and "daemon" in said["real"][1][1]


@pytest.fixture
def stand_in(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
    for name, value in docker.env.items():
        monkeypatch.setenv(name, value)
    return docker


@pytest.mark.triton
def test_container_serves_is_seen_and_leaves_nothing(
    places: Places, artifacts: Artifacts, stand_in: Docker
) -> None:
    with DockerServer(Container(IMAGE), *places) as triton:
        assert triton.serve(artifacts["double"], settings(instances=2)) == "double"
        (name,) = stand_in.running
        assert name == triton.name
        assert infer(triton, "double", {"x": floats(2, 3)}, protocol="grpc")["y"].shape == (2, 3)
        root, *stubs = triton.process_ids()
        assert root == stand_in.running[name].pid and len(stubs) == 2
        assert (triton.mode, triton.image, triton.version) == ("docker", IMAGE, "2.51.0")
        assert triton._folder is not None and triton.command == tuple(triton.command_line(triton._folder))
        # The stand-in's image has harness's own backend, and its log tells.
        assert (triton.backend, triton.backend_version) == (implementation.PYTHON, None)
        assert (triton.execution_provider, triton.provider_options) == ("CPUExecutionProvider", {})
        assert triton.healthy() and triton.exit_reason() is None
    assert not stand_in.running and not psutil.pid_exists(root)
    verbs = [call[0] for call in stand_in.calls]
    assert verbs == ["ps", "run", "inspect", "rm"]


@pytest.mark.triton
def test_killed_container_says_so_and_comes_back_with_its_model(
    places: Places, artifacts: Artifacts, stand_in: Docker
) -> None:
    with DockerServer(Container(IMAGE), *places) as triton:
        triton.serve(artifacts["double"], settings(max_batch=5))
        (first,) = stand_in.running.values()
        first.kill()
        assert eventually(lambda: triton.exit_reason() is not None)
        said = "Triton's container was killed by SIGKILL, perhaps for want of memory"
        assert triton.exit_reason() == said
        assert not triton.healthy() and triton.process_ids() == []
        triton.restart()
        assert triton.exit_reason() is None and triton.healthy()
        assert triton.control.model_config("double")["max_batch_size"] == 5
        assert len(stand_in.running) == 1
    assert not stand_in.running


@pytest.mark.triton
def test_container_whose_client_was_killed_is_removed(
    places: Places, stand_in: Docker, capfd: pytest.CaptureFixture[str]
) -> None:
    with DockerServer(Container(IMAGE), *places) as triton:
        triton.start()
        (client,) = (c for c in psutil.Process().children() if "run" in c.cmdline() and IMAGE in c.cmdline())
        client.kill()
        assert eventually(lambda: triton.exit_reason() is not None)
        assert triton.exit_reason() == "the docker client of Triton's container was killed by SIGKILL"
        assert stand_in.running, "the container outlives its client, as a real one does"
        triton.restart()
        assert capfd.readouterr().err == ""
        assert list(stand_in.running) == [triton.name]
    assert not stand_in.running


@pytest.mark.triton
@pytest.mark.parametrize("seen", [True, False])
def test_engine_and_server_that_both_hang_delay_nothing_for_ever(
    seen: bool,
    places: Places,
    stand_in: Docker,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where the container's processes can be seen, they are ended; elsewhere the engine is asked again."""
    monkeypatch.setattr(own, "PROBE_LIMIT_S", 0.3)
    if not seen:
        monkeypatch.setattr(leftovers, "end", lambda _: False)
    with DockerServer(Container(IMAGE), *places) as triton:
        triton.start()
        monkeypatch.setattr(containers, "ANSWER_LIMIT_S", 1.0)
        (root,) = stand_in.running.values()
        stop(root.pid)
        stand_in.be("hung")
        began = time.monotonic()
        assert not triton.healthy()
        assert "did not answer 3 health probes" in str(triton.exit_reason())
    assert time.monotonic() - began < 10
    assert bool(stand_in.running) is not seen
    assert ("may still run" in capfd.readouterr().err) is not seen
    stand_in.be("hung", False)
    assert eventually(lambda: not stand_in.running), "the guard gave up too early"


ORPHANING = """
import sys, time
from pathlib import Path
from harness.triton.docker import Container, DockerServer
from harness.triton.server_folder import ServerFolder

with DockerServer(Container(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])) as server:
    server.start()
    print(server.name, flush=True)
    time.sleep(600)
"""


def orphan(places: Places) -> subprocess.Popen[str]:
    """Another harness with a container."""
    harness = subprocess.Popen(
        [sys.executable, "-c", ORPHANING, IMAGE, *map(str, places)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert harness.stdout is not None and harness.stdout.readline()
    return harness


@pytest.mark.triton
def test_killed_harness_leaves_no_container(places: Places, stand_in: Docker) -> None:
    harness = orphan(places)
    assert len(stand_in.running) == 1
    harness.kill()
    harness.wait()
    assert eventually(lambda: not stand_in.running)


@pytest.mark.triton
@pytest.mark.alone  # every start of a server sweeps what a dead harness left, and so would a neighbour's
def test_container_that_nobody_could_end_is_swept_by_the_next_start(places: Places, stand_in: Docker) -> None:
    harness = orphan(places)
    (left,) = stand_in.running
    (guard,) = (c for c in psutil.Process(harness.pid).children() if c.cmdline()[-1] == "guard")
    guard.kill()
    harness.kill()
    harness.wait()
    time.sleep(0.5)
    assert left in stand_in.running
    with DockerServer(Container(IMAGE), *places) as triton:
        triton.start()
        assert eventually(lambda: list(stand_in.running) == [triton.name])
        # Where its processes can't be seen from here, only the engine can end them.
        assert ["rm", "--force", left] in stand_in.calls


@pytest.mark.triton
def test_port_that_is_taken_while_the_container_starts_is_replaced(
    places: Places, stand_in: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = process.choose_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        chosen = [taken.getsockname()[1]]
        monkeypatch.setattr(process, "choose_port", lambda *a: chosen.pop() if chosen else plain(*a))
        with DockerServer(Container(IMAGE), *places) as triton:
            triton.start()
            assert triton.healthy()
    assert [call[0] for call in stand_in.calls].count("run") == 2


REFUSALS = {
    "no engine": ("down", IMAGE, False, "start the Docker daemon"),
    "no image": (None, IMAGE.replace("5a", "5b"), False, "fetch it first with `docker pull example/"),
    "no GPUs": (None, IMAGE, True, "install NVIDIA Container Toolkit"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_container_that_can_not_be_had_is_told_in_one_sentence(
    places: Places, stand_in: Docker, what: str
) -> None:
    state, image, gpu, remedy = REFUSALS[what]
    if state is not None:
        stand_in.be(state)
    with pytest.raises(ServerError) as told, DockerServer(Container(image), *places, gpu=gpu) as triton:
        triton.start()
    assert remedy in str(told.value) and "\n" not in str(told.value)


LOADING = 'I1129 06:21:28.492222 7 model_lifecycle.cc:472] "loading: double:1"\n'
FAILED = (
    "E1129 06:21:29.1 7 model_lifecycle.cc:642] \"failed to load 'double' version 1: Unavailable: gone\"\n"
)
EOF = 'time="2026-11-29T06:22:45Z" level=error msg="error waiting for container: unexpected EOF"\n'
LIBRARY = (
    "error while loading shared libraries: libcudart.so.12: cannot open shared object file: No such file"
)
ENGINE_LOST = (
    "docker's engine went away while Triton's container ran (unexpected EOF): see whether `docker info`"
)
NO_TRITON = "give an image that has it on its PATH"
ENDS = {
    "no program": (
        "[FATAL tini (7)] exec tritonserver failed: No such file or directory\n",
        127,
        f"could not run {IMAGE}: exec tritonserver failed: No such file or directory; {NO_TRITON}",
    ),
    "no program for the image's own script": (
        "== Triton ==\n/opt/entrypoint.sh: line 67: exec: tritonserver: not found\n",
        127,
        f"could not run {IMAGE}: exec: tritonserver: not found; {NO_TRITON}",
    ),
    "no library": (
        f"/x.sh: line 3: nvidia-smi: not found\ntritonserver: {LIBRARY}\n",
        127,
        f"tritonserver: {LIBRARY}; give an image that has it",
    ),
    "another processor": (
        "[FATAL tini (7)] exec tritonserver failed: Exec format error\n",
        126,
        "Exec format error; give an image that is made for this machine's processor",
    ),
    "no words": ("", 125, f"could not run {IMAGE}: docker did not say why"),
    "no engine any more": (LOADING + EOF, 125, ENGINE_LOST),
    "no engine any more, and Triton noticed": (LOADING + FAILED + EOF, 125, ENGINE_LOST),
    "a model": (LOADING + FAILED, 1, "Triton refused double: gone; see "),
    "a stop": (
        LOADING + "Signal (15) received.\n" + FAILED,
        1,
        "Triton's container exited with status 1 after it was told to stop (SIGTERM), instead of starting",
    ),
    "a stop that took too long": (
        LOADING + "Signal (15) received.\n" + FAILED,
        137,
        "Triton's container was killed by SIGKILL after it was told to stop (SIGTERM), instead of starting",
    ),
    "an instance that can't begin": (
        f"{LOADING}/opt/backends/python/triton_python_backend_stub: {LIBRARY}\n",
        None,
        f"Triton can't start a model instance: {LIBRARY}; its log is",
    ),
}


@pytest.mark.parametrize("what", ENDS)
def test_container_that_ends_while_it_starts_is_told_by_what_ended_it(
    what: str, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, status, words = ENDS[what]
    (tmp_path / "said").write_text(said)
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    ends = "exec sleep 600" if status is None else f"exit {status}"
    client.write_text(f'#!/bin/sh\n[ "$1" != run ] || {{ cat {tmp_path}/said; {ends}; }}\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/bin:/bin")
    with pytest.raises(ServerError) as told, DockerServer(Container(IMAGE), *places) as triton:
        triton.start()
    assert words in str(told.value) and "\n" not in str(told.value)


def test_engine_that_hangs_at_the_start_is_told(
    places: Places, stand_in: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "ANSWER_LIMIT_S", 1.0)
    stand_in.be("hung")
    with pytest.raises(ServerError, match=r"did not answer `docker ps` within 1 s.*docker info"):
        DockerServer(Container(IMAGE), *places).__enter__()
    stand_in.be("hung", False)


def test_machine_without_docker_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match="no docker on PATH: install Docker"):
        DockerServer(Container(IMAGE), *places).__enter__()
