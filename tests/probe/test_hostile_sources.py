"""Metrics pages and probes that mean no good: what they cost is bounded, and what they say can be shown."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import harness
from harness.analysis.gpu import gpu_figures
from harness.analysis.host import host_figures
from harness.probe.reader.spool import PROTOCOL, Spool
from harness.probe.sampler import Sampler
from harness.probe.watch import remote_watch as remote
from harness.probe.watch.prometheus import samples
from harness.probe.watch.remote_watch import RemoteProbe, RemoteWatch
from harness.probe.watch.triton_metrics import MOST_GPUS, MOST_PROBLEMS, MetricsPage, MetricsWatch, listed
from harness.schema.errors import ServerError
from harness.schema.samples import Window
from tests.load.rogue import rogue_server

LONG_S = 10.0
"""A wait that takes this long is none that was meant."""

Answer = Callable[[BaseHTTPRequestHandler], bytes]


@contextmanager
def answering(answer: Answer, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = answer(self)
            self.send_response(status)
            for header in (("Content-Length", str(len(body))), *headers):
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as there:
        threading.Thread(target=there.serve_forever, args=(0.01,), daemon=True).start()
        yield there.server_port
        there.shutdown()


MILLION = 1_000_000


@pytest.mark.parametrize(
    "line",
    [
        "a" + " " * MILLION + "b c d",
        "a" + " \t" * 8000 + "b c d",
        "a{" + "} " * 8000,
        "a{" + '} x="' * 3000 + "} 1 2 3",
        "a{" + 'b="c",' * 2500 + "} 1",
        "a{" + 'b="c"' * 3000 + "} 1",
        'a{b="' + "\\\\" * 8000 + "} 1",
        "a " + "1" * 16_000 + "x",
        "a 1" + " " * 16_000 + "x",
        "a{" + " " * 16_000 + "} 1 x",
    ],
    ids=range(10),
)
def test_no_line_takes_longer_than_it_is_long(line: str) -> None:
    page = "\n".join([line] * (8 * MILLION // len(line)))
    began = time.monotonic()
    for sample in samples(page):
        assert len(sample.name) == 1
    assert time.monotonic() - began < LONG_S


def test_a_page_of_very_many_gpus_is_cut() -> None:
    names = (f'nv_gpu_power_usage{{gpu_uuid="GPU-{i}"}} 1\n' for i in range(100_000))
    page = "".join(names)
    assert len(listed(samples(page))) == MOST_GPUS
    count = iter(range(MILLION))
    with answering(lambda _: page.replace("GPU-", f"GPU-{next(count)}-").encode()) as port:
        watch = MetricsWatch(MetricsPage.of(f"http://127.0.0.1:{port}"), interval_s=0.05)
        with Sampler(list, list, watch=watch) as sampler:
            time.sleep(1)
    assert len(sampler.gpus) == MOST_GPUS


@pytest.mark.parametrize("value", ["1e300", "9223372036854775808", "NaN", "Inf", "-1", "1" * 400])
def test_values_that_no_gpu_has_are_not_observed(value: str) -> None:
    page = "".join(
        f'{name}{{gpu_uuid="GPU-a"}} {value}\n'
        for name in ("nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes")
    )
    assert listed(samples(page)) == {"GPU-a": {}}


@pytest.mark.parametrize("uuid", ["\x1b[2J", "x" * 1000, "\u202e"])
def test_names_that_no_gpu_has_are_left_out(uuid: str) -> None:
    assert listed(samples(f'nv_gpu_utilization{{gpu_uuid="{uuid}"}} 1\n')) == {}


def test_a_page_that_is_too_long_or_elsewhere_is_a_problem_and_not_a_part_of_one() -> None:
    line = b'nv_gpu_power_usage{gpu_uuid="GPU-a"} 312.5\n'
    with (
        answering(lambda _: line * (9 * MILLION // len(line))) as port,
        pytest.raises(ServerError, match="longer than"),
    ):
        MetricsPage.of(f"http://127.0.0.1:{port}").gpus()
    away = (("Location", "http://127.0.0.1:9/metrics"),)
    with answering(lambda _: b"", 302, away) as port, pytest.raises(ServerError, match="302"):
        MetricsPage.of(f"http://127.0.0.1:{port}").gpus()


def test_pages_that_fail_in_ever_new_ways_are_told_of_a_few_times() -> None:
    count = iter(range(MILLION))
    with rogue_server(lambda c: c.sendall(b"\x1b%d \r\n\r\n" % next(count))) as port:
        watch = MetricsWatch(MetricsPage.of(f"http://127.0.0.1:{port}"), interval_s=0.01)
        with Sampler(list, list, watch=watch) as sampler:
            time.sleep(1)
    assert 2 < len(sampler.problems) <= MOST_PROBLEMS
    assert all(problem.isprintable() for problem in sampler.problems)


HELLO = {
    "devices": [
        {
            **dict.fromkeys(("memory_bytes", "driver", "cuda_driver", "power_limit_w")),
            **dict.fromkeys(("persistence", "ecc", "mig")),
            "device": 0,
            "name": "\x1b[2Ja GPU",
            "uuid": "GPU-0",
            "unsupported": {"ecc\x1b": "no\u202e"},
        }
    ],
    "unavailable": None,
    "harness": harness.__version__,
    "protocol": PROTOCOL,
    "host": "\x1b]0;title\x07",
    "cores": 4,
}


def hostile(lines: Callable[[int], bytes], size: int = 0, key: str = '"k"', clock: bytes = b"5") -> Answer:
    """A probe whose watch has these lines, from some byte on."""

    def answer(request: BaseHTTPRequestHandler) -> bytes:
        if request.path == "/v1/clock":
            return b'{"at_ns": %s}' % clock
        if request.path == "/v1/machine":
            return lines(0)
        if request.path == "/v1/watches":
            return b'{"id": %s}' % key.encode()
        if request.command == "DELETE":
            return json.dumps({"size": size, "problem": "\x1b[2J" + "x" * 10_000}).encode()
        return lines(int(request.path.partition("from=")[2]))

    return answer


def seen(answer: Answer, path: Path, pause_s: float = 0.1) -> Sampler:
    with answering(answer) as port:
        watch = RemoteWatch(RemoteProbe("127.0.0.1", port), path)
        with Sampler(list, list, watch=watch) as sampler:
            time.sleep(pause_s)
    window = Window(time.monotonic_ns() - 10**9, time.monotonic_ns())
    gpu_figures(sampler.gpu, sampler.gpus, window, inferences=1)
    host_figures(sampler.host, window, requests=1, cores=2)
    for problem in (*sampler.problems, sampler.no_gpu or ""):
        assert problem.isprintable() and len(problem) < 1000
    return sampler


def said(**values: object) -> bytes:
    return b"".join(json.dumps({word: value}).encode() + b"\n" for word, value in values.items())


def test_lines_without_end_are_cut_off_and_told_of(tmp_path: Path) -> None:
    part = said(hello=HELLO) + said(kin={"pid": 1, "name": "x", "ancestors": []}) * (7 * MILLION // 60)
    sampler = seen(hostile(lambda _: part, size=1 << 62), tmp_path / "spool", pause_s=2.5)
    assert (tmp_path / "spool").stat().st_size < 2 * remote.SPOOL_BYTES
    assert any(remote.TOO_MUCH in problem for problem in sampler.problems)


def test_lines_that_never_come_are_not_waited_for(tmp_path: Path) -> None:
    first = said(hello=HELLO)
    began = time.monotonic()
    sampler = seen(hostile(lambda at: b"" if at else first, size=1 << 62), tmp_path / "spool")
    assert time.monotonic() - began < LONG_S
    assert any("bytes that it has don't come" in problem for problem in sampler.problems)
    (gpu,) = sampler.gpus
    assert (gpu.name, gpu.unsupported) == ("[2Ja GPU", {"ecc": "no"})


@pytest.mark.parametrize(
    "key", ["7", "null", '"a b"', '"../clock"', '"\\u00fc"', '"' + "k" * 65 + '"', '"a\\r\\nX: y"']
)
def test_a_watch_without_a_name_is_no_watch(key: str, tmp_path: Path) -> None:
    sampler = seen(hostile(lambda _: said(hello=HELLO), key=key), tmp_path / "spool")
    assert sampler.no_gpu is not None and remote.NO_PROBE in sampler.no_gpu


@pytest.mark.parametrize(
    "clock", [b"9223372036854775807", b"0", b"9223372036854775808", b"1e400", b"NaN", b"[[1]]"]
)
def test_no_clock_whatever_breaks_what_is_read_by_it(clock: bytes, tmp_path: Path) -> None:
    reading = {"at_ns": 2**63 - 1, "device": 0, "utilization": 0.5, "energy_j": 1e18}
    host = {
        "at_ns": 5,
        "host_cpu_s": 1e18,
        "server_cpu_s": -1e18,
        "host_process_cpu_s": 1,
        "harness_cpu_s": 0,
    }
    lines = said(hello=HELLO, gpu=reading, host=host) + said(gpu=reading | {"at_ns": -(2**63) + 1}, host=host)
    seen(hostile(lambda at: lines[at:], size=len(lines), clock=clock), tmp_path / "spool")


ODD_LINES = [
    b'{"hello": {"devices": [], "unavailable": null, "host": "a", "boot_id": null, "cores": 1'
    + b"0" * 4000
    + b"}}\n",
    said(hello=HELLO | {"cores": -1}),
    said(hello=HELLO | {"devices": HELLO["devices"] * 2000}),  # type: ignore[operator]
    b'{"gpu": {"at_ns": 9223372036854775808, "device": 0}}\n',
    b'{"gpu": {"at_ns": 5, "device": 0, "power_w": NaN}}\n',
    b'{"gpu": {"at_ns": 5, "device": 0, "power_w": 1e300}}\n',
    b'{"host": {"at_ns": 5, "host_cpu_s": 1e999}}\n',
    b'{"learnt": ' + b"[" * 100_000 + b"\n",
    b'{"learnt": {"problems": ' + b"[" * 700 + b"]" * 700 + b', "unsupported": []}}\n',
    b'{"kin": {"pid": 1, "name": "' + b"x" * (1 << 20) + b'", "ancestors": []}}\n',
    said(learnt={"problems": ["x"] * 2000, "unsupported": []}),
]


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
def test_a_line_that_no_reader_writes_is_counted_and_left_out(line: bytes) -> None:
    spool = Spool(foreign=True)
    spool.take([line, said(end={})])
    assert (spool.unreadable, spool.hello, spool.gpu, spool.host, spool.ended) == (1, None, [], [], True)


def test_the_machine_of_a_probe_is_fit_to_be_shown() -> None:
    with answering(hostile(lambda _: said(hello=HELLO))) as port:
        machine = RemoteProbe("127.0.0.1", port).machine()
    assert (machine.host, machine.devices[0].name) == ("]0;title", "[2Ja GPU")


def test_a_probe_that_drips_is_left_in_time(tmp_path: Path) -> None:
    def drip(connection: object) -> None:
        while True:
            connection.sendall(b"H")  # type: ignore[attr-defined]
            time.sleep(0.1)

    with rogue_server(drip) as port:
        began = time.monotonic()
        with Sampler(
            list, list, watch=RemoteWatch(RemoteProbe("127.0.0.1", port), tmp_path / "s")
        ) as sampler:
            pass
        assert time.monotonic() - began < LONG_S
    assert sampler.problems == (f"the probe at 127.0.0.1:{port} gave no readings: no answer in time",)


def test_a_clock_that_takes_its_time_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 1.0)
    asked: list[float] = []

    def slow(_: BaseHTTPRequestHandler) -> bytes:
        time.sleep(0.4)
        asked.append(time.monotonic())
        return b'{"at_ns": 5}'

    with answering(slow) as port:
        began = time.monotonic()
        RemoteProbe("127.0.0.1", port).clock()
        assert time.monotonic() - began < LONG_S / 2
    assert 1 <= len(asked) < remote.ROUNDS / 2


def test_lines_have_a_bound_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_SPOOL_BYTES", 1000)
    first = said(hello=HELLO)
    sampler = seen(hostile(lambda at: b"\n" * 400 if at else first, size=1 << 40), tmp_path / "spool")
    assert (tmp_path / "spool").stat().st_size <= 1000
    assert any(remote.TOO_MUCH in problem for problem in sampler.problems)


def test_why_a_reader_ended_can_be_shown(tmp_path: Path) -> None:
    lines = said(hello=HELLO)
    sampler = seen(hostile(lambda at: lines[at:], size=len(lines)), tmp_path / "spool")
    (problem,) = sampler.problems
    assert "[2Jxxx" in problem
