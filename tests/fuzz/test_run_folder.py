"""What `harness report` reads of a run's folder: its JSON records, its Parquet files, and what they say."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.commands import report
from harness.commands.derived import Derived
from harness.report.markdown import summary
from harness.report.page import page
from harness.report.perf_analyzer_csv import csv_files
from harness.schema.errors import HarnessError
from harness.schema.samples import REQUEST, GpuProcess, GpuReading, HostReading
from harness.store import samples_file
from harness.store.run_folder import RunFolder, open_run
from tests.fuzz import fuzz, mutated
from tests.store.finished import finished_run

RECORDS = (
    *("scenario.json", "run.json", "model.json", "environment.json"),
    *("points/P/point.json", "points/P/observed.json"),
)
SAMPLES = ("requests.parquet", "host.parquet", "gpu.parquet")

page.templates = functools.cache(page.templates)  # compiling them takes most of a page's time

ABSURD: dict[type, tuple[Any, ...]] = {
    int: (0, -1, 1, 2**31, 10**15, 2**62, -(2**62), 2**63, 10**400),
    float: (0, -1.0, -0.0, 1e-300, 1.0, 1e9, 1e18, 1e300, 10**400),
    str: (
        "",
        "x",
        "\0",
        "..",
        "../../etc",
        "é\u2028",
        "\ud800",
        "</script>" * 900,
        "0001-01-01T00:00:00+14:00",
    ),
    bool: (True, False),
    list: ([], [0, 0], [5, 1], [0, 2**62], [7, 7]),
    dict: ({}, {"": 0}),
    type(None): (None, 0, 1, "x", []),
}
"""Of each kind of value, what it can't be or hardly ever is."""

CHANGES = st.lists(st.tuples(st.integers(0), st.integers(0), st.integers(0, 9)), min_size=1, max_size=3)


@functools.cache
def made() -> tuple[tempfile.TemporaryDirectory[str], Path]:
    """A run that nobody spoils, and the folder that it goes with."""
    folder = tempfile.TemporaryDirectory()
    return folder, finished_run(Path(folder.name), requests=60).path


@contextmanager
def received() -> Iterator[RunFolder]:
    with tempfile.TemporaryDirectory() as folder:
        yield open_run(Path(shutil.copytree(made()[1], Path(folder) / "run")))


def point_of(folder: RunFolder) -> Path:
    (point,) = (folder.path / "points").iterdir()
    return point


def reported(folder: RunFolder) -> None:
    """All that `harness report` does, whose answer is the result or the project's own error."""
    with suppress(HarnessError):
        known: dict[str, Derived] = {}
        result = report.collect(folder, known)
        result.model_dump_json().encode()
        page.page_html(result, {id_: each.series for id_, each in known.items()}).encode()
        summary(result).encode()
        for text in csv_files(result).values():
            text.encode()


@fuzz(
    st.sampled_from(RECORDS), mutated(b"{", b"[" * 5000, b"{}", b"null", b'{"a": ' * 900, b"1e999", b"\xff")
)
def test_any_bytes_in_place_of_a_record(name: str, content: bytes) -> None:
    with received() as folder:
        (folder.path / name.replace("P", point_of(folder).name)).write_bytes(content)
        reported(folder)


@fuzz(st.sampled_from(RECORDS), CHANGES)
def test_absurd_values_in_a_record(name: str, changes: list[tuple[int, int, int]]) -> None:
    with received() as folder:
        file = folder.path / name.replace("P", point_of(folder).name)
        record = json.loads(file.read_text())
        for where, which, another_kind in changes:
            places = list(_places(record))
            around, key = places[where % len(places)]
            kind = type(None) if another_kind == 0 else type(around[key])
            around[key] = copy.deepcopy(ABSURD[kind][which % len(ABSURD[kind])])
        file.write_text(json.dumps(record))
        reported(folder)


def _places(record: Any) -> Iterator[tuple[Any, Any]]:
    """Each value in the record, by what it is in and its key there."""
    for key in list(record) if isinstance(record, dict) else range(len(record)):
        yield record, key
        if isinstance(record[key], dict | list):
            yield from _places(record[key])


@fuzz(st.sampled_from(SAMPLES), st.data())
def test_a_spoiled_parquet_file(name: str, data: st.DataObject) -> None:
    with received() as folder:
        file = point_of(folder) / name
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            where = data.draw(st.integers(1, len(content)))  # from the end, where the metadata is
            content[-where] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x15, 0x26]))
        file.write_bytes(
            content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        )
        reported(folder)


START_NS = 5 * 10**12
TOOK_NS = st.sampled_from([0, 1, 7, 10**6, 10**9, 10**10, 10**13])
TIMES = TOOK_NS.map(lambda took_ns: START_NS + took_ns) | st.sampled_from([0, 1, 2**61, 2**62])
LEVELS = st.sampled_from([None, 0.0, -1.0, 0.5, 1e-300, 1e9, 2.0**62])
CPU_S = st.sampled_from([0.0, -1.0, 0.5, 1e-300, 1e9, 2.0**62])
SIZES = st.sampled_from([None, 0, -1, 1, 2**30, 2**62])
"""All of them possible, for what isn't is refused at the door."""

ROWS = st.lists(st.tuples(*[st.integers(0, 1)] * 4, *[TOOK_NS] * 4), max_size=6)
HOST = st.lists(st.builds(HostReading, TIMES, LEVELS, LEVELS, CPU_S, SIZES, SIZES, *[LEVELS] * 4), max_size=4)
GPU = st.lists(
    st.builds(
        GpuReading,
        *(TIMES, st.sampled_from([0, 1, -1, 2**31 - 1]), LEVELS, SIZES, *[LEVELS] * 5),
        *[st.none() | st.just(()) | st.tuples(st.text(max_size=5))] * 2,
        *(st.sampled_from([None, 0, -1]), *[LEVELS] * 6, SIZES),
        st.none()
        | st.tuples(st.builds(GpuProcess, st.integers(-1, 9), st.none() | st.text(max_size=3), SIZES)),
    ),
    max_size=4,
)


@fuzz(ROWS, st.integers(0, 3), HOST, GPU, st.none() | st.tuples(TIMES, TIMES))
def test_absurd_samples(
    rows: list[tuple[int, ...]],
    repeated: int,
    host: list[HostReading],
    gpu: list[GpuReading],
    window: tuple[int, int] | None,
) -> None:
    with received() as folder:
        point = point_of(folder)
        requests = np.zeros(len(rows) * 40**repeated if repeated < 3 else len(rows), dtype=REQUEST)
        for at, (kind, status, phase, reason, *times) in enumerate(rows):
            of_it = requests[at :: len(rows)]
            for name, value in zip(("request_class", "status", "phase"), (kind, status, phase), strict=True):
                of_it[name] = value
            of_it["reason"] = reason
            of_it["intended_ns"] = START_NS + times[0] + np.arange(of_it.size) * times[3]
            of_it["sent_ns"] = of_it["first_byte_ns"] = of_it["intended_ns"] + times[1]
            of_it["completed_ns"] = of_it["sent_ns"] + times[2]
        samples_file.write_requests(point / "requests.parquet", [requests], ["short", "long"], ["why"], None)
        samples_file.write_host(point / "host.parquet", host)
        samples_file.write_gpu(point / "gpu.parquet", gpu)
        observed = json.loads((point / "observed.json").read_text())
        between = None if window is None else [min(window), max(window)]
        (point / "observed.json").write_text(
            json.dumps(observed | {"window_ns": between, "idle_ns": between})
        )
        reported(folder)
