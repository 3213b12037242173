"""The lines that a probe on another machine sends."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import strategies as st

from harness.analysis.clocks import Clock, Reading
from harness.analysis.gpu import gpu_figures
from harness.probe.reader.spool import Spool
from harness.probe.watch.foreign_processes import judged
from harness.probe.watch.local_watch import probe_of
from harness.probe.watch.remote_watch import _on_our_clock
from harness.probe.watch.two_machines import foreign_there, with_server
from harness.schema.samples import HostReading, Window
from tests.fuzz import fuzz, mutated, pieces

DEVICE = {
    **dict.fromkeys(("memory_bytes", "driver", "cuda_driver", "power_limit_w", "persistence", "ecc", "mig")),
    "device": 0,
    "name": "a GPU",
    "uuid": "GPU-0",
}
PROCESS = {"pid": 7, "name": "python", "memory_bytes": 5}


def line(word: str, **values: object) -> bytes:
    return json.dumps({word: values}).encode() + b"\n"


LINES = (
    line("hello", devices=[DEVICE], unavailable=None, host="box", boot_id="an id", cores=8),
    line("gpu", at_ns=10, device=0, utilization=0.5, energy_j=10.0, power_w=300.5, processes=[PROCESS]),
    line("gpu", at_ns=2_000_000_000, device=0, utilization=1, energy_j=400.0, throttle_reasons=["hot"]),
    line("host", at_ns=20, host_cpu_s=1.5, server_cpu_s=1, host_process_cpu_s=1, harness_cpu_s=0),
    line("host", at_ns=2_000_000_020, host_cpu_s=4, server_cpu_s=2, host_process_cpu_s=4, harness_cpu_s=0),
    line("kin", pid=7, name="python", ancestors=[1]),
    line("ours", server=[7], others=[8]),
    line("cost", cpu_s=0.5, over_s=2),
    line(
        "learnt",
        problems=["lost"],
        unsupported=[{"device": 0, "mig_instance": None, "reasons": {"ecc": "no"}}],
    ),
    line("end"),
    b"9" * 19,
    b"1e308",
    b'"\\u001b"',
)
ROW = HostReading(1_000_000_000, None, 1.0, 2.0, None, 5, 0.0, 1.0)


@fuzz(
    mutated(*LINES, b"".join(LINES)),
    st.lists(st.integers(0, 1 << 16), max_size=3),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=2),
)
def test_lines_are_read_or_counted_and_can_be_gone_on_with(
    text: bytes, cuts: list[int], answered: list[int]
) -> None:
    spool = Spool(foreign=True)
    for part in pieces(text, cuts):
        spool.take(part.splitlines(keepends=True))
    clock = Clock(tuple(Reading.of([(i * 10**9, at, i * 10**9 + 1000)]) for i, at in enumerate(answered)))
    with np.errstate(invalid="raise"):
        gpu, host = _on_our_clock(spool.gpu, clock), _on_our_clock(spool.host, clock)
    readings = judged(gpu, spool.process_info, spool.server, spool.others)
    devices = spool.devices()
    with np.errstate(all="ignore"):
        gpu_figures(readings, devices, Window(0, 3_000_000_000), inferences=5)
        with_server([ROW], host, same_host=False)
    probe_of(spool, "remote probe", 0.05)
    if spool.hello is not None:
        foreign_there(host, spool.hello.cores)
    for said in (*spool.problems, *(device.name for device in devices)):
        assert said.isprintable() and len(said) <= 500
