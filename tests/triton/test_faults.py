"""What is left of a server that is killed, hung or orphaned; each test starts its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import ownership
from harness.schema.errors import ServerError
from harness.schema.model import ModelArtifact
from harness.triton import leftovers, own, process, server_folder
from harness.triton.embedded import EmbeddedServer
from tests.ports import free_port
from tests.triton.clients import floats, infer
from tests.triton.models import settings

pytestmark = pytest.mark.triton

Artifacts = dict[str, ModelArtifact]
Places = tuple[Path, Path]


def regions(owner: int | None = None) -> set[str]:
    """Shared memory regions of servers that process `owner` (this one, if not given) started."""
    pattern = f"harness_*_{owner or os.getpid()}_*"
    return {path.name for path in ownership.SHARED_MEMORY.glob(pattern)}


def alive(pids: list[int]) -> list[int]:
    return [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]


def stop(pid: int) -> None:
    """Freeze the process, every thread of it: on a busy machine that takes a moment."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    assert eventually(lambda: all("State:\tT" in (t / "status").read_text() for t in threads.iterdir()))


def eventually(condition: Callable[[], bool], limit_s: float = 15.0) -> bool:
    give_up = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def test_clean_stop_leaves_no_process_and_no_shared_memory(places: Places, artifacts: Artifacts) -> None:
    before = regions()
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings(instances=2))
        pids = server.process_ids()
        assert len(pids) == 3
        assert len(regions() - before) == 2
    assert alive(pids) == []
    assert regions() <= before
    assert server.process_ids() == []


def test_killed_server_says_so_and_comes_back_with_its_model(places: Places, artifacts: Artifacts) -> None:
    before = regions()
    with EmbeddedServer(*places) as server:
        name = server.serve(artifacts["double"], settings(max_batch=5))
        assert server.exit_reason() is None
        old = server.process_ids()
        os.kill(old[0], signal.SIGKILL)
        assert eventually(lambda: server.exit_reason() is not None)
        assert server.exit_reason() == "Triton was killed by SIGKILL"
        assert not server.healthy()
        assert server.process_ids() == []
        with pytest.raises(ServerError, match="can't be reached"):
            server.statistics(name)
        server.restart()
        assert server.exit_reason() is None
        assert server.healthy()
        assert alive(old) == []
        assert len(regions() - before) == 1
        assert server.control.model_config(name)["max_batch_size"] == 5
        assert infer(server, name, {"x": floats(2, 2)}, protocol="grpc")["y"].shape == (2, 2)
    assert regions() <= before


def test_hung_server_is_noticed_and_ended(
    places: Places, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "PROBE_LIMIT_S", 0.3)
    before = regions()
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings())
        pids = server.process_ids()
        for pid in pids:  # its stub too, which would otherwise end by itself
            stop(pid)
        assert server.exit_reason() is None  # its process lives: only asking it tells
        assert not server.healthy()
        assert "did not answer 3 health probes" in str(server.exit_reason())
        assert alive(pids) == []
    assert regions() <= before


def test_server_that_somebody_told_to_stop_is_not_called_silent(places: Places, artifacts: Artifacts) -> None:
    """It refuses connections some seconds before it ends."""
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings())
        os.kill(server.process_ids()[0], signal.SIGTERM)
        assert eventually(lambda: not server.control.live())
        assert not server.healthy()
        assert str(server.exit_reason()).endswith(" after it was told to stop (SIGTERM)")


def test_stop_does_not_wait_for_ever_for_a_hung_server(places: Places, artifacts: Artifacts) -> None:
    before = regions()
    with EmbeddedServer(*places) as server:
        server.serve(artifacts["double"], settings())
        pids = server.process_ids()
        stop(pids[0])
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert alive(pids) == []
    assert regions() <= before


ORPHANING = """
import sys, time
from pathlib import Path
from harness.schema.model import ModelArtifact
from harness.triton.embedded import EmbeddedServer
from tests.triton.models import settings

with EmbeddedServer(Path(sys.argv[1]), Path(sys.argv[2])) as server:
    server.serve(ModelArtifact.model_validate_json(sys.argv[3], strict=False), settings())
    print(*server.process_ids(), flush=True)
    time.sleep(600)
"""


@pytest.fixture
def orphans(places: Places, artifacts: Artifacts) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Another harness that serves, and the ids of its server and stub."""
    harness = subprocess.Popen(
        [sys.executable, "-c", ORPHANING, *map(str, places), artifacts["double"].model_dump_json()],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids: list[int] = []
    try:
        assert harness.stdout is not None
        pids += [int(word) for word in harness.stdout.readline().split()]
        assert len(alive(pids)) == 2
        yield harness, pids
    finally:
        harness.kill()
        harness.wait()
        for pid in alive(pids):
            os.kill(pid, signal.SIGKILL)


def test_killed_harness_leaves_no_process(orphans: tuple[subprocess.Popen[str], list[int]]) -> None:
    harness, pids = orphans
    harness.kill()
    harness.wait()
    assert eventually(lambda: alive(pids) == [])


@pytest.mark.alone  # every start of a server sweeps what the dead left, and so would a neighbour's
def test_stub_that_can_not_notice_its_servers_end_is_ended_all_the_same_and_swept_by_the_next_start(
    orphans: tuple[subprocess.Popen[str], list[int]], tmp_path: Path
) -> None:
    harness, (server, stub) = orphans
    stop(stub)
    harness.kill()
    harness.wait()
    assert eventually(lambda: alive([server, stub]) == [])
    assert regions(harness.pid)
    with EmbeddedServer(tmp_path / "next", tmp_path / "next.log"):
        assert not regions(harness.pid)


def test_sweep_takes_what_dead_processes_left_and_nothing_else() -> None:
    gone = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started = ownership._started(gone.pid)
    namespace = ownership._namespace()
    dead = f"harness_triton_{namespace}_{gone.pid}_{started}_0123456789ab_"
    reused = f"harness_triton_{namespace}_{os.getpid()}_1_0123456789ab_"  # our pid, but not our start
    foreign = f"harness_triton_{namespace + 1}_{gone.pid}_{started}_0123456789ab_"
    own = ownership.new_name("triton")
    other = f"harnessing_{gone.pid}_"
    # A process that outlived such a server, by its arguments.
    straggler = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"{dead}1"])
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"{own}1"])
    files = {p: ownership.SHARED_MEMORY / f"{p}test" for p in (dead, reused, foreign, own, other)}
    try:
        for path in files.values():
            path.write_bytes(b"region")
        leftovers.sweep_dead()
        assert all(path.exists() for path in files.values() if path != files[reused])
        assert straggler.poll() is None
        gone.kill()
        gone.wait()
        leftovers.sweep_dead()
        assert {prefix for prefix, path in files.items() if path.exists()} == {foreign, own, other}
        straggler.wait(5)  # raises if it lives
        assert bystander.poll() is None
        leftovers.sweep(own)
        assert {prefix for prefix, path in files.items() if path.exists()} == {foreign, other}
    finally:
        for started_here in (gone, straggler, bystander):
            started_here.kill()
            started_here.wait()
        for path in files.values():
            path.unlink(missing_ok=True)


def test_used_port_is_told_in_one_sentence(places: Places) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("http_port", "grpc_port", "metrics_port"):
            with (
                EmbeddedServer(*places, **{option: port}) as server,
                pytest.raises(ServerError, match=f"port {port} .*is in use: .*another"),
            ):
                server.start()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),
        ("::1", "::1 is an IPv6 number, .* give --host"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_told_in_one_sentence(
    places: Places, host: str, words: str
) -> None:
    with EmbeddedServer(*places, host=host) as server, pytest.raises(ServerError, match=words):
        server.start()


def test_port_that_is_taken_while_triton_starts_is_replaced(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = process.choose_port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        chosen = [taken.getsockname()[1]]
        monkeypatch.setattr(process, "choose_port", lambda *a: chosen.pop() if chosen else plain(*a))
        with EmbeddedServer(*places) as server:
            server.start()
            assert server.healthy()


def test_the_three_ports_of_a_server_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the kernel names anew once it is let go, it may name again.
    named = iter([7, 7, 9, 8, 7, 8, 6])

    def kernel(asked: int, last: int, *_where: str) -> int:
        return asked or last or next(named)

    monkeypatch.setattr(process, "choose_port", kernel)
    assert process.choose_ports((0, 0, 9), (0, 0, 0)) == (7, 8, 9)
    assert process.choose_ports((0, 0, 5), (5, 4, 0)) == (7, 4, 5)
    assert process.choose_ports((0, 0, 0), (3, 3, 0)) == (3, 8, 6)


@pytest.mark.parametrize("twice", [("http", "grpc"), ("grpc", "metrics"), ("http", "metrics")])
def test_a_port_that_is_given_twice_is_told(places: Places, twice: tuple[str, str]) -> None:
    ports = {f"{name}_port": 20_001 for name in twice}
    with (
        EmbeddedServer(*places, **ports) as server,
        pytest.raises(ServerError, match=rf"port 20001 \({twice[0]}\) is given twice"),
    ):
        server.start()


ABORTS = (
    "echo \"terminate called after throwing an instance of 'boost::interprocess::lock_exception'\"; "
    "kill -ABRT $$"
)
"""As Triton 2.51 was seen to, while its Python backend started an instance."""


@pytest.mark.parametrize("always", [False, True])
def test_a_start_that_tritons_own_lock_ends_is_tried_again(
    places: Places, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    plain, starts, begun = EmbeddedServer.command_line, EmbeddedServer.launch, []

    def launch(*given: Any) -> Any:
        begun.append(given)
        return starts(*given)

    def command_line(*given: Any) -> list[str]:
        return ["bash", "-c", ABORTS] if always or len(begun) <= 1 else plain(*given)

    monkeypatch.setattr(EmbeddedServer, "launch", launch)
    monkeypatch.setattr(EmbeddedServer, "command_line", command_line)
    with EmbeddedServer(*places) as server:
        if always:
            with pytest.raises(ServerError, match="killed by SIGABRT, instead of starting; its log is"):
                server.start()
            assert len(begun) == own.START_ATTEMPTS
        else:
            server.start()
            assert server.healthy() and len(begun) == 2


def test_asked_ports_are_used_and_kept_over_a_restart(places: Places) -> None:
    port = free_port()
    with EmbeddedServer(*places, http_port=port) as server:
        server.start()
        assert server.http_port == port
        others = (server.grpc_port, server.metrics_port)
        server.restart()
        assert (server.http_port, server.grpc_port, server.metrics_port) == (port, *others)


def test_server_that_does_not_start_is_told_with_its_own_last_words(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = EmbeddedServer.command_line
    wrong = "--cache-config=nothing_here,size=1"
    monkeypatch.setattr(EmbeddedServer, "command_line", lambda *a: [*plain(*a), wrong])
    with (
        EmbeddedServer(*places) as server,
        pytest.raises(ServerError, match=r"exited with status 1: .*nothing_here") as failed,
    ):
        server.start()
    assert str(places[1]) in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_blank_in_the_path_of_the_folder_one_works_in_is_no_hindrance(
    tmp_path: Path, artifacts: Artifacts
) -> None:
    with EmbeddedServer(tmp_path / "my models", tmp_path / "my log") as server:
        name = server.serve(artifacts["double"], settings())
        assert infer(server, name, {"x": floats(2, 2)})["y"].shape == (2, 2)
    assert (tmp_path / "my models" / name / "config.pbtxt").is_file()


def test_folders_of_dead_servers_are_swept_and_those_of_others_are_not(
    places: Places, orphans: tuple[subprocess.Popen[str], list[int]]
) -> None:
    harness, pids = orphans
    theirs = set(server_folder._home().glob(f"harness_*_{harness.pid}_*"))
    assert len(theirs) == 1 and (theirs.pop() / "models" / "double" / "1" / "model.onnx").is_file()
    with EmbeddedServer(*places):
        assert list(server_folder._home().glob(f"harness_*_{harness.pid}_*"))
    harness.kill()
    harness.wait()
    assert eventually(lambda: alive(pids) == [])
    with EmbeddedServer(*places):
        assert not list(server_folder._home().glob(f"harness_*_{harness.pid}_*"))
