"""A stand-in for the docker client and its engine: an executable that reads its arguments strictly.

`python tests/docker.py` is that executable. Its containers run the embedded tritonserver on the mounted
folder and the published ports, as processes that outlive the client. Whatever it doesn't know is an error, in
the words of Docker's own client and engine (28.2) where they are known.

In a test:

    def test_it(docker: Docker) -> None:
        subprocess.run([...], env=os.environ | docker.env)

where a conftest.py has `from tests.docker import docker`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

IMAGE = "example/tritonserver@sha256:" + "5a" * 32
PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


@dataclass(frozen=True)
class Docker:
    """The stand-in, and what a test may do to it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What makes a process meet it."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"PATH": path, "DOCKER_STAND_IN": str(self.folder)}

    @property
    def calls(self) -> list[list[str]]:
        """Every command line so far, without the program."""
        calls = self.folder / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    @property
    def running(self) -> dict[str, psutil.Process]:
        """The containers that live, by name, and the first process of each."""
        found = {}
        for container in (self.folder / "containers").iterdir():
            if not (container / "exit").exists() and (container / "pid").exists():
                with suppress(psutil.Error):
                    first = psutil.Process(int((container / "pid").read_text()))
                    if first.status() != psutil.STATUS_ZOMBIE:  # its end is on its way into `exit`
                        found[container.name] = first
        return found

    def be(self, state: str, on: bool = True) -> None:
        """`down`: the engine can't be reached. `hung`: it doesn't answer. `gpus`: it can give GPUs."""
        (self.folder / state).touch() if on else (self.folder / state).unlink()


@pytest.fixture
def docker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A stand-in that has `IMAGE`; whatever it still runs at the end is killed."""
    folder = tmp_path_factory.mktemp("docker")
    for name in ("bin", "containers"):
        (folder / name).mkdir()
    (folder / "images").write_text(IMAGE + "\n")
    program = folder / "bin" / "docker"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"\n')
    program.chmod(0o755)
    made = Docker(folder)
    yield made
    for process in made.running.values():
        with suppress(psutil.Error):
            process.kill()


class Engine:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def container(self, name: str) -> Path | None:
        found = self.folder / "containers" / name
        return found if found.exists() and not (found / "exit").exists() else None

    def run(self, words: list[str]) -> NoReturn:
        given, command = _run_options(words)
        if given.image not in (self.folder / "images").read_text().splitlines():
            refuse(f"Error response from daemon: No such image: {given.image}", 125)
        if given.gpus is not None and not (self.folder / "gpus").exists():
            driver = 'could not select device driver "" with capabilities: [[gpu]]'
            refuse(f"Error response from daemon: {driver}", 125)
        mount = dict(part.partition("=")[::2] for part in next(csv.reader([given.mount])))
        if set(mount) != {"type", "source", "target", "readonly"} or mount["type"] != "bind":
            refuse(f"invalid mount {given.mount}", 125)
        if not Path(mount["source"]).is_dir():
            path = f"bind source path does not exist: {mount['source']}"
            refuse(f'Error response from daemon: invalid mount config for type "bind": {path}', 125)
        published = {int(inner): (host, int(outer)) for host, outer, inner in map(_published, given.publish)}
        for host, port in published.values():
            if not _free(host, port):
                bind = f"Bind for {host}:{port} failed: port is already allocated"
                refuse(f"Error response from daemon: driver failed programming: {bind}", 125)
        arguments = {word.partition("=")[0]: word.partition("=")[2] for word in command[1:]}
        if command[0] != "tritonserver" or arguments["--model-repository"] != mount["target"]:
            refuse(f'exec: "{command[0]}" on {mount["target"]}', 127)
        arguments["--model-repository"] = mount["source"]
        for name, inner in PORTS.items():
            if given.network == "host":
                continue
            if int(arguments[f"--{name}-port"]) != inner or arguments[f"--{name}-address"] != "0.0.0.0":
                refuse(f"nothing can reach the {name} port", 125)
            if inner in published:
                host, port = published[inner]
                arguments |= {f"--{name}-address": host, f"--{name}-port": str(port)}
        container = self.folder / "containers" / given.name
        if self.container(given.name):
            refuse(f"Error response from daemon: Conflict. The container name {given.name} is in use", 125)
        container.mkdir()
        (container / "labels").write_text(given.label)
        (container / "log").touch()
        triton = json.dumps([f"{name}={value}" if value else name for name, value in arguments.items()])
        env = json.dumps(dict(pair.partition("=")[::2] for pair in given.env if "=" in pair))
        detached = ["setsid", "--fork", sys.executable, __file__, "--contain", str(container), triton, env]
        subprocess.run(detached, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        sys.exit(self.attached(container))

    def attached(self, container: Path) -> int:
        """Carry what the container says until it ends, and pass on what asks it to end; its status."""
        signal.signal(signal.SIGTERM, lambda *_: self.kill(container, signal.SIGTERM))
        with (container / "log").open("rb") as log:
            ended = False
            while not ended:
                time.sleep(0.02)
                ended = (container / "exit").exists()
                sys.stdout.buffer.write(log.read())
                sys.stdout.flush()
        return int((container / "exit").read_text())

    def kill(self, container: Path, how: signal.Signals) -> None:
        with suppress(OSError):
            os.kill(int((container / "pid").read_text()), how)

    def stop(self, words: list[str]) -> None:
        parser = Strict("stop")
        parser.add_argument("-t", type=int, required=True)
        parser.add_argument("name")
        given = parser.parse_args(words)
        container = self.known(given.name)
        self.kill(container, signal.SIGTERM)
        give_up = time.monotonic() + given.t
        while not (container / "exit").exists() and time.monotonic() < give_up:
            time.sleep(0.02)
        self.kill(container, signal.SIGKILL)
        print(given.name)

    def rm(self, words: list[str]) -> None:
        parser = Strict("rm")
        parser.add_argument("--force", action="store_true", required=True)
        parser.add_argument("name")
        given = parser.parse_args(words)
        if (container := self.container(given.name)) is None:
            print(f"Error response from daemon: No such container: {given.name}", file=sys.stderr)
            return
        self.kill(container, signal.SIGKILL)
        while not (container / "exit").exists():
            time.sleep(0.02)
        print(given.name)

    def ps(self, words: list[str]) -> None:
        parser = Strict("ps")
        parser.add_argument("--all", action="store_true", required=True)
        parser.add_argument("--filter", required=True)
        parser.add_argument("--format", choices=["{{.Names}}"], required=True)
        given = parser.parse_args(words)
        kind, _, label = given.filter.partition("=")
        assert kind == "label"
        for container in (self.folder / "containers").iterdir():
            if self.container(container.name) and (container / "labels").read_text() == label:
                print(container.name)

    def inspect(self, words: list[str]) -> None:
        parser = Strict("inspect")
        parser.add_argument("--type", choices=["container"], required=True)
        parser.add_argument("--format", choices=["{{.State.Pid}}"], required=True)
        parser.add_argument("name")
        print((self.known(parser.parse_args(words).name) / "pid").read_text())

    def version(self, words: list[str]) -> None:
        parser = Strict("version")
        parser.add_argument("--format", choices=["{{.Server.Version}}"], required=True)
        parser.parse_args(words)
        print("28.2.2")

    def known(self, name: str) -> Path:
        if (container := self.container(name)) is None:
            refuse(f"Error response from daemon: No such container: {name}", 1)
        return container


class Strict(argparse.ArgumentParser):
    """Without abbreviations; what it doesn't know ends as with the real client."""

    def __init__(self, command: str) -> None:
        super().__init__(prog=f"docker {command}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        refuse(f"{message}\n\nUsage:  {self.prog}", 125)


def _run_options(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = Strict("run")
    for name in ("rm", "init"):
        parser.add_argument(f"--{name}", action="store_true", required=True)
    for name in ("name", "label", "mount"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--pull", choices=["never"], required=True)
    parser.add_argument("--log-driver", choices=["none"], required=True)
    parser.add_argument("--user", choices=[f"{os.getuid()}:{os.getgid()}"], required=True)
    parser.add_argument("--cap-drop", choices=["ALL"], required=True)
    parser.add_argument("--security-opt", choices=["no-new-privileges"], required=True)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--publish", action="append", default=[])
    parser.add_argument("--shm-size")
    parser.add_argument("--gpus")
    for name in ("ipc", "pid", "network"):
        parser.add_argument(f"--{name}", choices=["host"])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    if len([word for word in words if word.startswith("--mount")]) != 1:
        parser.error("more than one mount")
    return given, given.command


def _published(text: str) -> list[str]:
    parts = text.split(":")
    if len(parts) != 3:  # without an address it would be published on every one
        refuse(f"invalid publish opts format: {text}", 125)
    return parts


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def contain(container: Path, arguments: list[str], env: dict[str, str]) -> None:
    """Run the embedded tritonserver until it ends, and note how it did."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from harness.triton.install import provision

    triton = provision()
    env |= {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LD_LIBRARY_PATH": triton.library_path}
    own = [f"--backend-directory={triton.backends}", f"--cache-directory={triton.caches}"]
    with (container / "log").open("ab") as log:
        server = subprocess.Popen([triton.server, *arguments, *own], env=env, stdout=log, stderr=log)
        (container / "pid.new").write_text(str(server.pid))
        (container / "pid.new").rename(container / "pid")
        status = server.wait()
    (container / "exit.new").write_text(str(128 - status if status < 0 else status))
    (container / "exit.new").rename(container / "exit")


def refuse(why: str, status: int) -> NoReturn:
    print(
        f"docker: {why}\n\nRun 'docker run --help' for more information" if status > 1 else why,
        file=sys.stderr,
    )
    sys.exit(status)


def main() -> None:
    if sys.argv[1] == "--contain":
        return contain(Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4]))
    folder = Path(os.environ["DOCKER_STAND_IN"])
    command, *words = sys.argv[1:]
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    while (folder / "hung").exists():
        time.sleep(0.05)
    engine = Engine(folder)
    known: dict[str, Callable[[list[str]], None]] = {
        name: getattr(engine, name) for name in ("run", "stop", "rm", "ps", "inspect", "version")
    }
    if command not in known:
        refuse(f"unknown command: docker {command}", 125)
    if (folder / "down").exists():
        where = "unix:///var/run/docker.sock. Is the docker daemon running?"
        refuse(f"Cannot connect to the Docker daemon at {where}", 125 if command == "run" else 1)
    known[command](words)
    return None


if __name__ == "__main__":
    main()
