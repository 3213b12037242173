"""A probe in another process, asked as a run elsewhere asks it, and by clients that mean no good."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from harness.analysis.gpu import gpu_figures
from harness.analysis.host import host_figures
from harness.probe.reader.spool import Spool, encoded
from harness.probe.sampler import Sampler
from harness.probe.watch import remote_watch
from harness.probe.watch.gpu_source import GpuSource
from harness.probe.watch.remote_watch import RemoteProbe, RemoteWatch
from harness.schema.errors import InputError, ServerError
from harness.schema.samples import Window
from tests.nvml import NvmlDouble

Serving = Callable[..., tuple[subprocess.Popen[str], RemoteProbe]]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Starts `harness probe --serve` in a process with the given environment."""
    started: list[subprocess.Popen[str]] = []

    def start(
        environment: dict[str, str], *arguments: str, prefix: tuple[str, ...] = ()
    ) -> tuple[subprocess.Popen[str], RemoteProbe]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "harness", "probe", "--serve", "0", *arguments],
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stderr is not None
        first = process.stderr.readline()
        port = re.search(r"ready at 127\.0\.0\.1:(\d+)", first)
        assert port is not None, first + process.stderr.read()
        return process, RemoteProbe("127.0.0.1", int(port[1]))

    yield start
    for process in started:
        process.kill()
        process.communicate()


@contextmanager
def burning() -> Iterator[psutil.Process]:
    """A process that takes what it gets of one core once it is resumed, and is no descendant of this one."""
    command = [sys.executable, "-c", "while True: pass"]
    started = subprocess.run(
        ["sh", "-c", '"$@" >/dev/null & echo $!', "sh", *command], stdout=subprocess.PIPE, check=True
    )
    process = psutil.Process(int(started.stdout))
    try:
        process.suspend()  # a probe that starts beside it takes seconds
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(5)


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_gpus_and_server_of_there_are_seen_as_if_they_were_here(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path
) -> None:
    with burning() as server, burning() as stranger:
        listed = f"processes={server.pid},{stranger.pid}"
        _, address = serving(nvml_double(f"gpus=2 power_w=400 {listed}"), "--pid", str(server.pid))
        server.resume(), stranger.resume()
        watch = RemoteWatch(address, tmp_path / "gpu.jsonl")
        with Sampler(list, list, server_hidden=True, watch=watch) as sampler:
            idle = sampler.idle()
            begin = time.monotonic_ns(), cpu_s(server.pid)
            time.sleep(1.5)
            end = time.monotonic_ns(), cpu_s(server.pid)
    assert sampler.problems == ()
    assert idle is not None and idle[1] - idle[0] >= 1.5e9
    window = Window(begin[0], end[0])
    first, second = gpu_figures(sampler.gpu, sampler.gpus, window, inferences=1) or ()
    assert first.energy_j == pytest.approx(400 * window.seconds, rel=0.02)
    assert second.energy_j == pytest.approx(300 * window.seconds, rel=0.02)
    (foreign,) = first.foreign_processes or ()
    assert foreign.endswith(f" ({stranger.pid})")
    assert sampler.gpu_probe is not None
    assert (sampler.gpu_probe.source, sampler.gpu_probe.cpu_cores) == ("remote probe", None)
    host = host_figures(sampler.host, window, requests=1, cores=2)
    assert host.server_cpu_cores == pytest.approx((end[1] - begin[1]) / window.seconds, abs=0.1)
    assert host.server_memory_bytes is not None and host.server_memory_bytes > 2**20
    # on one kernel the stranger is of this machine
    assert host.foreign_cpu_cores is not None and host.foreign_cpu_cores > 0.1
    assert not any(r.host_process_cpu_s is None for r in sampler.host)


def test_of_another_kernel_the_servers_part_is_added_and_its_neighbours_are_told_of(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.probe.watch.remote_watch.boot_id", lambda: "another")
    with burning() as server, burning() as neighbour:
        _, address = serving(nvml_double(), "--pid", str(server.pid))
        server.resume(), neighbour.resume()
        with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
            time.sleep(1.5)
    (problem,) = sampler.problems
    assert re.fullmatch(r"other processes used [\d.]+ of the \d+ cores of the server's machine", problem)
    row = sampler.host[-1]
    readings = Spool.read(tmp_path / "gpu").host
    there = [r for r in readings if r.host_process_cpu_s is not None and r.at_ns <= row.at_ns]
    assert row.host_process_cpu_s is not None and row.server_cpu_s is not None
    assert row.host_process_cpu_s > (there[-1].host_process_cpu_s or 0) + 0.9 * row.server_cpu_s - 0.5


def test_where_no_server_runs_there_its_part_is_null(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path
) -> None:
    with burning() as gone:
        pass
    _, address = serving(nvml_double(), "--pid", str(gone.pid))
    with Sampler(list, list, server_hidden=True, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
        time.sleep(0.5)
    assert sampler.problems == ()
    assert sampler.host and sampler.gpu
    assert all(r.server_cpu_s is None and r.host_process_cpu_s is None for r in sampler.host)
    assert all(r.foreign_processes is None for r in sampler.gpu), "nobody knows which are the server's"


def test_a_machine_without_gpus_is_seen_all_the_same(serving: Serving, tmp_path: Path) -> None:
    with burning() as server:
        _, address = serving({}, "--pid", str(server.pid))
        server.resume()
        if address.machine().unavailable is None:
            pytest.skip("this machine has a GPU")
        with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
            assert sampler.idle() is None
            time.sleep(0.5)
    assert sampler.problems == ()
    assert sampler.no_gpu is not None and "driver" in sampler.no_gpu
    assert sampler.host[-1].server_cpu_s is not None


@pytest.mark.parametrize(
    ("sent", "says"),
    [(signal.SIGKILL, "stopped answering"), (signal.SIGSTOP, "stopped answering (no answer in time)")],
)
def test_a_probe_that_goes_away_takes_a_second_of_readings_with_it(
    nvml_double: NvmlDouble,
    serving: Serving,
    tmp_path: Path,
    sent: signal.Signals,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for asks in (RemoteProbe.ask, remote_watch._answered):  # instead of ANSWER_S, which is waited for twice
        monkeypatch.setattr(asks, "__defaults__", (None, 1.0))
    process, address = serving(nvml_double())
    with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
        time.sleep(1.6)
        process.send_signal(sent)
        gone_ns = time.monotonic_ns()
        time.sleep(1)
        leaving = time.monotonic()
    assert time.monotonic() - leaving < 8, "it held up the run"
    assert -1.5e9 < sampler.gpu[-1].at_ns - gone_ns < 0.1e9
    (problem,) = sampler.problems
    assert says in problem and "its readings end" in problem
    assert len(sampler.gpus) == 1
    assert len(sampler.host) > 10


def test_a_reader_that_is_killed_there_is_told_of_here(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path
) -> None:
    process, address = serving(nvml_double())
    with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
        time.sleep(0.3)
        (reader,) = psutil.Process(process.pid).children()
        reader.kill()
        time.sleep(1)
    # On a busy machine readings of the host may have a gap, which is a problem too.
    (problem,) = (each for each in sampler.problems if each.startswith(f"at {address}"))
    assert problem.startswith(f"at {address}, the GPU probe was killed by SIGKILL: its readings end ")
    assert sampler.gpu


def test_the_clock_of_another_machine_is_put_on_ours(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path
) -> None:
    # a time namespace has a CLOCK_MONOTONIC of its own, as another machine has
    apart = ("unshare", "--time", "--monotonic", "100000", "--fork", "--kill-child")
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user or kernel makes no time namespaces")
    _, address = serving(nvml_double(), prefix=apart)
    assert address.clock().offset_ns == pytest.approx(100_000e9, abs=1e9)
    with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
        entered_ns = time.monotonic_ns()
        time.sleep(0.5)
        leaving_ns = time.monotonic_ns()
    assert sampler.problems == ()
    at_ns = [reading.at_ns for reading in sampler.gpu]
    assert entered_ns - 2e9 < at_ns[0] < entered_ns + 1e7
    assert leaving_ns - 1e7 < at_ns[-1] < time.monotonic_ns()


class Slow(BaseHTTPRequestHandler):
    """Hands every question on to a probe, and every answer back 20 ms later."""

    behind: RemoteProbe

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if self.command == "POST" else None
        answer = self.behind.ask(self.command, self.path, body)
        time.sleep(0.02)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_a_clock_that_is_known_badly_is_told_of(
    nvml_double: NvmlDouble, serving: Serving, tmp_path: Path
) -> None:
    _, address = serving(nvml_double())
    relay = ThreadingHTTPServer(("127.0.0.1", 0), type("_Slow", (Slow,), {"behind": address}))
    threading.Thread(target=relay.serve_forever, args=(0.01,), daemon=True).start()
    far = RemoteProbe("127.0.0.1", int(relay.server_address[1]))
    with Sampler(list, list, watch=RemoteWatch(far, tmp_path / "gpu")) as sampler:
        time.sleep(1.0)
    relay.shutdown()
    relay.server_close()
    (problem,) = sampler.problems
    known_ms = re.fullmatch(rf"the clock of the machine at {far} is known to ([\d.]+) ms only", problem)
    assert known_ms is not None and 10 <= float(known_ms[1]) < 100


def test_what_answers_and_is_no_probe_is_a_sentence(tmp_path: Path) -> None:
    answers = [
        b"{}",
        b"nonsense",
        b'{"at_ns": "soon"}',
        b'{"at_ns": -1}',
        encoded(Spool().learnt),
        b"[" * 100_000,
    ]

    class Odd(BaseHTTPRequestHandler):
        answer = b""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    for answer in answers:
        odd = ThreadingHTTPServer(("127.0.0.1", 0), type("_Odd", (Odd,), {"answer": answer}))
        threading.Thread(target=odd.serve_forever, args=(0.01,), daemon=True).start()
        address = RemoteProbe("127.0.0.1", int(odd.server_address[1]))
        with Sampler(list, list, watch=RemoteWatch(address, tmp_path / "gpu")) as sampler:
            pass
        assert sampler.no_gpu is not None and "as no probe does" in sampler.no_gpu
        with pytest.raises(ServerError, match="this version of harness understands"):
            address.machine()
        odd.shutdown()
        odd.server_close()


def test_where_nobody_listens_the_remedy_is_named(tmp_path: Path) -> None:
    nobody = RemoteProbe("127.0.0.1", 9)
    with pytest.raises(ServerError, match=r"Connection refused.*harness probe --serve"):
        nobody.machine()
    with Sampler(list, list, watch=RemoteWatch(nobody, tmp_path / "gpu")) as sampler:
        pass
    assert sampler.problems == ("the probe at 127.0.0.1:9 gave no readings: Connection refused",)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("gpu-box", ("gpu-box", 9400)),
        ("10.0.0.5:9401", ("10.0.0.5", 9401)),
        ("[fe80::1]:9400", ("fe80::1", 9400)),
        ("[::1]", ("::1", 9400)),
    ],
)
def test_addresses_of_a_probe(text: str, at: tuple[str, int]) -> None:
    source = GpuSource.of(text, None, url="http://a")
    assert source is not None and source.source == at


@pytest.mark.parametrize(
    "text", ["", ":9400", "http://a:1", "a:b", "a:70000", "a/b", "u@a", "a b", "a\r\nX: y", "a?b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="give it as host or host:port"):
        GpuSource.of(text, None, url="http://a")


def test_one_way_to_look_is_enough_and_only_elsewhere() -> None:
    assert GpuSource.of(None, None, url=None) is None
    with pytest.raises(InputError, match="leave out --metrics-url"):
        GpuSource.of("a", "http://a/metrics", url="http://a")
    for probe, page in (("a", None), (None, "http://a/metrics")):
        with pytest.raises(InputError, match="give its --url too"):
            GpuSource.of(probe, page, url=None)
        assert GpuSource.of(probe, page, url="http://a:8000") is not None
