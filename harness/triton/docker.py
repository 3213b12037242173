"""Triton in a container, as NVIDIA ships it: `--server docker --image NAME@sha256:…`.

Source of the options: Docker's CLI reference ("docker container run") and, for GPUs, NVIDIA Container
Toolkit's "Specialized Configurations with Docker".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from harness import terminal
from harness.cache import cache_dir
from harness.child_process import end_group, exit_description
from harness.clock import boot_id
from harness.ownership import orphaned
from harness.schema.errors import HarnessError, InputError, ServerError
from harness.schema.point import ServerSettings
from harness.triton import leftovers, process
from harness.triton.own import CUDA_ORDER, OwnServer
from harness.triton.server_folder import ServerFolder

ENGINE = "docker"
LABEL = "harness.boot"
"""Its value names the boot of the machine that started the container: process ids mean nothing elsewhere."""
ANSWER_LIMIT_S = 15.0
"""A healthy engine answers within a second; pulling is never asked of it."""

MODELS = "/models"
VISIBLE = "CUDA_VISIBLE_DEVICES"
PORTS = (8000, 8001, 8002)
"""Triton's own, in a network namespace of its own."""

_IMAGE = re.compile(r"(?:[a-zA-Z0-9][a-zA-Z0-9._/:-]*@)?sha256:[0-9a-f]{64}")
_SIZE = re.compile(r"[1-9]\d*[bkmg]?")

# Once is not enough: a container that the engine is about to create is not there yet.
_REMOVE = 'for pause in 0 1 3 10; do sleep $pause; timeout 20 "$ENGINE" rm --force "$CONTAINER"; done'

_ENGINE_LOST = re.compile(r'level=error msg="error waiting for container: (.*?)"$', re.MULTILINE)
"""What the client says where its engine went away, or let go of it, while the container ran."""
_WHO_SAYS = re.compile(r"docker: |\[FATAL tini \(\d+\)\] |\S+: line \d+: ")
"""What stands before the reason for which a program could not be started."""

_REMEDIES = {
    r"Cannot connect to the Docker daemon|failed to connect to the docker API": "start the Docker daemon",
    r"permission denied while trying to connect": "add your user to the group that may use the daemon",
    r"No such image|not found: manifest unknown": "fetch it first with `docker pull {image}`",
    r"could not select device driver": "install NVIDIA Container Toolkit, or serve on the CPU",
    r"tritonserver(?: failed: No such file|: not found)": "give an image that has it on its PATH",
    r"error while loading shared libraries": "give an image that has it",
    r"[Ee]xec format error": "give an image that is made for this machine's processor",
    r"nvidia-container-cli": "see whether nvidia-smi works on this machine",
}

Network = Literal["bridge", "host"]


@dataclass(frozen=True, slots=True)
class Container:
    """What a container is made of. Raises InputError for what can't be."""

    image: str
    shm_size: str = "1g"
    """Size of the container's /dev/shm, where that isn't the host's."""
    network: Network = "bridge"
    """`bridge`: its own, with its ports published on the server's host address. `host`: the host's, without
    the engine's proxy between."""

    def __post_init__(self) -> None:
        if not _IMAGE.fullmatch(self.image):
            name = self.image.partition("@")[0] or "NAME:TAG"
            raise InputError(
                f"--image {self.image} names no digest, so it may be another image tomorrow: give it as "
                "NAME@sha256:…, as `docker image inspect --format '{{index .RepoDigests 0}}' "
                f"{name}` prints it"
            )
        if not _SIZE.fullmatch(self.shm_size):
            raise InputError(f"--shm-size {self.shm_size!r} is no size: give a number and b, k, m or g")


class DockerServer(OwnServer):
    """An `OwnServer` in a container of its own, which is gone with it.

    The container sees the model repository read-only and nothing else of the machine, runs as this user
    without privileges, and is never pulled: what is measured is what is there under that digest.
    """

    mode = "docker"
    child_of_ours = False  # but the engine's
    start_limit_s = 180.0

    def __init__(self, container: Container, repository: Path, log: Path, **options: Any) -> None:
        super().__init__(repository, log, **options)
        self.container = container
        self.image = container.image

    @classmethod
    def configured(cls, options: Mapping[str, str]) -> Callable[..., OwnServer]:
        if "image" not in options:
            raise InputError("--server docker needs to know which: give --image NAME@sha256:…")
        if options.get("network", "bridge") not in get_args(Network):
            raise InputError(f"--network {options['network']} is none of {', '.join(get_args(Network))}")
        return partial(cls, Container(**options))  # type: ignore[arg-type]

    @property
    def gpus(self) -> tuple[int, ...] | Literal["all", "none"]:
        """The GPUs that the container sees, by their number on this machine: those that its model needs."""
        if self.settings is None:
            return "all" if self.gpu else "none"
        if self.settings.kind == "cpu" or (self.settings.kind == "auto" and not self.gpu):
            return "none"
        return "all" if self.settings.gpus is None else tuple(sorted(self.settings.gpus))

    def prepare(self) -> None:
        if set(str(cache_dir())) & set(',"'):
            raise InputError(
                f"the cache folder {cache_dir()} has a comma or quote in its name, which docker can't "
                "mount: set HARNESS_CACHE to another folder"
            )
        if self.theirs is not None and set(str(self.theirs.path)) & set(',"'):
            raise InputError(
                f"the model repository {self.theirs.path} has a comma or quote in its name, which docker "
                "can't mount: give it under another name"
            )
        if shutil.which(ENGINE) is None:
            raise HarnessError(f"there is no {ENGINE} on PATH: install Docker, or choose another --server")
        listed = ask("ps", "--all", f"--filter=label={LABEL}={boot_id()}", "--format={{.Names}}")
        for name in filter(orphaned, listed.split()):
            with suppress(ServerError):  # another harness was faster
                ask("rm", "--force", name)

    def settings_there(self, settings: ServerSettings) -> ServerSettings:
        if settings.gpus is None:
            return settings
        # CUDA numbers from 0 what the container sees, in the order of the bus.
        number = {device: at for at, device in enumerate(sorted(settings.gpus))}
        return settings.model_copy(update={"gpus": tuple(number[device] for device in settings.gpus)})

    def command_line(self, folder: ServerFolder) -> list[str]:
        kind, ports = self.container, (self.http_port, self.grpc_port, self.metrics_port)
        options = [
            f"--name={self.name}",
            f"--label={LABEL}={boot_id()}",
            "--rm",
            "--init",
            "--pull=never",
            "--log-driver=none",
            f"--user={os.getuid()}:{os.getgid()}",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            f"--mount=type=bind,source={folder.repository},target={MODELS},readonly",
            f"--env={'='.join(CUDA_ORDER)}",
            "--env=ORT_DISABLE_TELEMETRY",  # its value is that of the client's environment, which is ours
        ]
        if self.theirs is not None:  # the links in the repository lead there
            options.append(f"--mount=type=bind,source={self.theirs.path},target={self.theirs.path},readonly")
        if self.shared_memory == "none":
            options.append(f"--shm-size={kind.shm_size}")
        else:
            options.append("--ipc=host")
        if self.shared_memory == "cuda":
            options.append("--pid=host")  # the README of Triton's client: CUDA opens no handle without
        if self.gpus != "none":
            options.append(f"--gpus={_gpu_request(self.gpus)}")
        if self.gpus == "all" and VISIBLE in os.environ:
            options.append(f"--env={VISIBLE}")  # its value is that of the client's environment, which is ours
        if kind.network == "host":
            options.append("--network=host")
            given = self.arguments(MODELS, self.host, ports)
        else:
            published = zip(ports, PORTS, strict=True)
            options += [f"--publish={self.host}:{outer}:{inner}" for outer, inner in published]
            given = self.arguments(MODELS, "0.0.0.0", PORTS)
        return [ENGINE, "run", *options, kind.image, "tritonserver", *given]

    def launch(self, folder: ServerFolder, hidden: Mapping[str, str]) -> _Running:
        return _Running(self.name, self.image or "", self.command_line(folder), hidden, self.log)


def _gpu_request(gpus: tuple[int, ...] | Literal["all", "none"]) -> str:
    """The value of `--gpus`, which is read as CSV: a list of devices needs quotes of its own."""
    if not isinstance(gpus, tuple):
        return gpus
    device = f"device={','.join(str(index) for index in sorted(gpus))}"
    return f'"{device}"' if len(gpus) > 1 else device


class _Running:
    """The container, by the `docker run` that waits for it and carries its output."""

    def __init__(
        self, name: str, image: str, command: Sequence[str], hidden: Mapping[str, str], log: Path
    ) -> None:
        self.command = tuple(command)
        self._name, self._image = name, image
        self._log, self._log_start = log, process.size(log)
        remedy = f"see whether `{ENGINE} --version` works"
        # The engine shows a container's arguments to all users of this machine, so there is none to hide.
        real = [hidden.get(argument, argument) for argument in command]
        self._client = process.start(real, os.environ, log, remedy)
        self._guard: process.Guard | None = process.Guard(_REMOVE, ENGINE=ENGINE, CONTAINER=name)
        self._root: psutil.Process | None = None
        self._looked = False

    def exit_reason(self) -> str | None:
        status = self._client.poll()
        if status is None:
            return None
        if status < 0:
            return f"the docker client of Triton's container {exit_description(status)}"
        if status in (125, 126, 127):  # "docker container run", "Exit status": of the engine, not of Triton
            return self._not_started()
        how = f"Triton's container {exit_description(128 - status if status > 128 else status)}"
        if (told := process.told_to_stop(self._log, self._log_start)) is not None:
            return f"{how} after it was told to stop ({told})"
        if status > 128:
            return how + (", perhaps for want of memory" if status == 137 else "")
        last = process.last_words(self._log, self._log_start)
        return how + (f": {last}" if last else "")

    def refused(self) -> tuple[str, str] | None:
        by_itself = 0 < (self._client.poll() or 0) < 125
        return process.refusal(self._log, self._log_start) if by_itself else None

    def process_ids(self) -> list[int]:
        if not self._looked and self._client.poll() is None:
            self._root, self._looked = self._found_root(), True
        return process.family(self._root.pid) if self._root is not None and self._root.is_running() else []

    def end(self) -> None:
        if self._guard is None:
            return
        refused = None
        try:
            ask("rm", "--force", self._name)
        except ServerError as error:
            refused = error
        with suppress(subprocess.TimeoutExpired):
            self._client.wait(1.0)
        # A client that ended by itself saw the container's end, unless it lost its engine. Else the engine
        # may hang, be gone, or be about to start it: what can be seen of the container is ended, and the
        # guard goes on asking for a while, in the background.
        status = self._client.poll()
        gone = status is not None and status >= 0 and self._engine_lost() is None
        end_group(self._client)
        if not gone and not leftovers.end(self._name) and refused is not None:
            terminal.tell(
                f"{refused}: Triton's container may still run, and is asked to end for a while; "
                f"`{ENGINE} rm --force {self._name}` ends it"
            )
        self._guard.dismiss() if gone else self._guard.act()
        self._guard = None

    def _found_root(self) -> psutil.Process | None:
        """The container's first process, where its id means the same here as to the engine."""
        with suppress(ServerError, ValueError, psutil.Error):
            found = psutil.Process(
                int(ask("inspect", "--type=container", "--format={{.State.Pid}}", self._name))
            )
            if any(self._name in word for word in found.cmdline()):
                return found
        return None

    def _engine_lost(self) -> str | None:
        """What the client says of it; None where it kept its engine."""
        found = _ENGINE_LOST.search(process.said(self._log, self._log_start))
        return found[1] if found and self._client.poll() == 125 else None

    def _not_started(self) -> str:
        if (words := self._engine_lost()) is not None:
            return (
                f"docker's engine went away while Triton's container ran ({words}): "
                "see whether `docker info` works"
            )
        said = process.said(self._log, self._log_start).splitlines()
        told = [
            line for line in said if line.startswith("docker:")
        ]  # the last word is then a remedy of its own
        last = told[-1] if told else process.last_line(self._log, self._log_start)
        words = (
            "docker did not say why" if last is None else _WHO_SAYS.sub("", last, count=1).strip().rstrip(".")
        )
        reason = f"docker could not run {self._image}: {words}"
        remedy = remedy_of(words, self._image)
        return f"{reason}; {remedy}" if remedy else reason


def ask(*words: str) -> str:
    """What docker answers to a command. Raises ServerError where it refuses, or doesn't answer in time."""
    try:
        done = subprocess.run(
            [ENGINE, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_LIMIT_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(
            f"docker did not answer `docker {words[0]}` within {ANSWER_LIMIT_S:g} s: "
            "see whether `docker info` works"
        ) from error
    except OSError as error:
        raise ServerError(
            f"docker can't be started ({error.strerror}): see whether `docker --version` works"
        ) from error
    if done.returncode != 0:
        lines = [line.strip().rstrip(".") for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1] if lines else f"`docker {words[0]}` {exit_description(done.returncode)}"
        remedy = remedy_of(said, "")
        raise ServerError(f"docker refused: {said}" + (f"; {remedy}" if remedy else ""))
    return done.stdout


def remedy_of(words: str, image: str) -> str | None:
    for pattern, remedy in _REMEDIES.items():
        if re.search(pattern, words):
            return remedy.format(image=image)
    return None
