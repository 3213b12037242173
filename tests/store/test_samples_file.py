"""Raw samples to Parquet and back: exact, whole or not there, in little memory, and readable by others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.schema.errors import HarnessError, InputError
from harness.schema.samples import (
    REQUEST,
    GpuProcess,
    GpuReading,
    HostReading,
    Measured,
    Phase,
    Requests,
    Status,
    Window,
)
from harness.store import parquet, samples_file
from harness.store.record import LARGEST

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), unique=True, max_size=5)
counts = st.integers(0, 2**63 - 1)
gaps_ns = st.integers(0, samples_file.LONGEST_NS // 3)
starts_ns = st.integers(0, LARGEST - samples_file.LONGEST_NS)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
listed = st.none() | st.lists(names, max_size=3).map(tuple)
floats = st.none() | st.floats(allow_nan=False, allow_infinity=False)
sizes = st.none() | counts
processes = st.builds(GpuProcess, st.integers(-1, 2**32), st.none() | names, sizes)


@st.composite
def recorded(draw: st.DrawFn) -> tuple[Requests, list[str], list[str]]:
    classes = draw(st.lists(names, unique=True, min_size=1, max_size=5))
    reasons = draw(texts)
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(classes) - 1),
                st.sampled_from(Status),
                st.sampled_from(Phase),
                st.integers(0, 2**16 - 1),
                st.integers(0, len(reasons)),
                gaps_ns,
                gaps_ns,
                st.just(-1) | counts,
                gaps_ns,
                st.integers(0, 2**32 - 1),
                st.integers(0, 2**32 - 1),
            ),
            max_size=30,
        )
    )
    requests = np.array(rows, dtype=REQUEST)
    requests["intended_ns"] += draw(starts_ns)
    requests["sent_ns"] += requests["intended_ns"]
    requests["completed_ns"] += requests["sent_ns"]
    return requests, classes, reasons


@given(
    data=recorded(), replicas=st.lists(names, unique=True, min_size=2, max_size=5), seed=st.integers(0, 99)
)
def test_requests_of_replicas_come_back_exactly(
    folder: Path, data: tuple[Requests, list[str], list[str]], replicas: list[str], seed: int
) -> None:
    requests, classes, reasons = data
    drawn = np.random.default_rng(seed).integers(0, len(replicas), requests.size)
    kinds = requests["request_class"].copy()
    requests["request_class"] += drawn.astype(np.uint16) * np.uint16(len(classes))
    path = folder / "replicas.parquet"
    samples_file.write_requests(path, [requests], classes, reasons, None, replicas)
    stored = samples_file.read_requests(path)
    assert stored.requests.tobytes() == requests.tobytes()
    assert (list(stored.classes), list(stored.reasons), list(stored.replicas)) == (classes, reasons, replicas)
    samples = samples_file.read_samples(path)
    assert samples.replicas == stored.replicas
    assert samples.warmup.size + samples.measured.size == requests.size
    table = pq.read_table(path)
    assert table["replica"].to_pylist() == [replicas[number] for number in drawn]
    assert table["request_class"].to_pylist() == [classes[number] for number in kinds]
    requests["request_class"] += len(classes) * len(replicas)
    if requests.size:
        with pytest.raises(HarnessError, match="a recorded request has a replica that doesn't exist"):
            samples_file.write_requests(path, [requests], classes, reasons, None, replicas)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("samples")


def some_requests(count: int) -> Requests:
    requests = np.zeros(count, dtype=REQUEST)
    requests["intended_ns"] = np.arange(count) * 1000
    requests["sent_ns"] = requests["intended_ns"] + 1
    requests["first_byte_ns"] = np.where(np.arange(count) % 3 == 0, -1, requests["intended_ns"] + 2)
    requests["completed_ns"] = requests["intended_ns"] + 3
    requests["status"] = np.arange(count) % 3
    requests["reason"] = np.arange(count) % 2
    requests["request_class"] = np.arange(count) % 2
    return requests


@given(data=recorded(), window=st.none() | st.builds(Window, counts, counts))
def test_requests_come_back_exactly(
    folder: Path, data: tuple[Requests, list[str], list[str]], window: Window | None
) -> None:
    requests, classes, reasons = data
    path = folder / "requests.parquet"
    samples_file.write_requests(path, [requests], classes, reasons, window)
    stored = samples_file.read_requests(path)
    assert stored.requests.dtype == REQUEST
    assert stored.requests.tobytes() == requests.tobytes()
    assert (list(stored.classes), list(stored.reasons)) == (classes, reasons)
    assert samples_file.read_window(path) == window


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    host=st.lists(st.builds(HostReading, counts, floats, floats, st.floats(0, 1e9), sizes, sizes)),
    gpu=st.lists(
        st.builds(
            GpuReading,
            counts,
            st.integers(0, 64),
            floats,
            sizes,
            floats,
            floats,
            floats,
            floats,
            floats,
            listed,
            listed,
            st.none() | st.integers(0, 14),
            *[floats] * 6,
            sizes,
            st.none() | st.lists(processes, max_size=3).map(tuple),
        ),
        max_size=20,
    ),
)
def test_readings_come_back_exactly(folder: Path, host: list[HostReading], gpu: list[GpuReading]) -> None:
    samples_file.write_host(folder / "host.parquet", host)
    samples_file.write_gpu(folder / "gpu.parquet", gpu)
    assert samples_file.read_host(folder / "host.parquet") == host
    assert samples_file.read_gpu(folder / "gpu.parquet") == gpu


FIRST_COLUMNS = (
    "at_ns", "device", "utilization", "memory_bytes", "power_w", "energy_j", "temperature_c", "sm_clock_hz",
    "memory_clock_hz", "throttle_reasons", "foreign_processes",
)  # fmt: skip


def test_a_file_from_before_there_were_activities_is_read_with_none_for_them(tmp_path: Path) -> None:
    path = tmp_path / "gpu.parquet"
    old = GpuReading(7, 1, 0.5, 3, 100.0, 5.0, 60.0, 1e9, 2e9, ("sw_power_cap",), ("x (1)",))
    samples_file.write_gpu(path, [replace(old, sm_activity=0.5, processes=(GpuProcess(1, "x", None),))])
    pq.write_table(pq.read_table(path, columns=list(FIRST_COLUMNS)), path)
    assert pq.read_schema(path).names == list(FIRST_COLUMNS)
    assert samples_file.read_gpu(path) == [old]


@pytest.mark.parametrize("without", ["processes", "utilization"])
def test_a_file_that_lacks_any_other_columns_is_nobodys(tmp_path: Path, without: str) -> None:
    path = tmp_path / "gpu.parquet"
    samples_file.write_gpu(path, [GpuReading(7, 1, *[None] * 8)])
    pq.write_table(pq.read_table(path).drop_columns([without]), path)
    with pytest.raises(InputError, match="is damaged"):
        samples_file.read_gpu(path)


def test_the_columns_of_a_gpu_are_the_fields_of_a_reading_and_other_tools_read_them(tmp_path: Path) -> None:
    path = tmp_path / "gpu.parquet"
    process = GpuProcess(4711, "tritonserver", 2**30)
    reading = GpuReading(7, 0, *[None] * 8, mig_instance=3, ecc_errors=2, processes=(process,))
    samples_file.write_gpu(path, [reading])
    (row,) = pq.read_table(path).to_pylist()
    assert list(row) == [f.name for f in fields(GpuReading)]
    assert row["processes"] == [{"pid": 4711, "name": "tritonserver", "memory_bytes": 2**30}]
    assert (row["mig_instance"], row["ecc_errors"], row["sm_activity"]) == (3, 2, None)


def test_more_rows_than_a_chunk_come_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "CHUNK_ROWS", 1000)
    requests = some_requests(3210)
    path = tmp_path / "requests.parquet"
    samples_file.write_requests(path, [requests], ["a", "b"], ["why"], None)
    assert pq.ParquetFile(path).metadata.num_row_groups == 4
    assert samples_file.read_requests(path).requests.tobytes() == requests.tobytes()


def test_another_tool_reads_names_nulls_and_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    samples_file.write_requests(path, [some_requests(3)], ["short", "long"], ["HTTP 503"], Window(5, 9))
    table = pq.read_table(path)
    assert table.column("request_class").to_pylist() == ["short", "long", "short"]
    assert table.column("status").to_pylist() == ["ok", "refused", "connection"]
    assert table.column("phase").to_pylist() == ["warmup"] * 3
    assert table.column("reason").to_pylist() == [None, "HTTP 503", None]
    assert table.column("first_byte_ns").to_pylist() == [None, 1002, 2002]
    metadata = pq.read_metadata(path)
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert metadata.metadata[b"harness.schema_version"] == b"1"
    assert b"CLOCK_MONOTONIC" in metadata.metadata[b"harness.clock"]
    assert metadata.metadata[b"harness.window_ns"] == b"[5, 9]"


@pytest.mark.parametrize(
    ("field", "value"), [("request_class", 2), ("reason", 2), ("status", 9), ("phase", 5)]
)
def test_records_that_point_to_nothing_are_refused_and_leave_no_file(
    tmp_path: Path, field: str, value: int
) -> None:
    requests = some_requests(5)
    requests[field][3] = value
    with pytest.raises(HarnessError, match=f"has a {field} that doesn't exist"):
        samples_file.write_requests(tmp_path / "requests.parquet", [requests], ["a", "b"], ["why"], None)
    assert list(tmp_path.iterdir()) == []


def test_figures_columns_are_those_of_the_records_in_the_order_they_were_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "CHUNK_ROWS", 1000)
    random = np.random.default_rng(3)
    requests = some_requests(3210)
    requests["phase"] = random.integers(0, 2, requests.size)
    random.shuffle(requests)
    requests["intended_ns"][:500] = 7_000_000  # due at the same time: in the order in which they ended
    path = tmp_path / "requests.parquet"
    chunks = [requests[:1], requests[1:1], requests[1:]]
    samples_file.write_requests(path, chunks, ["a", "b"], ["why"], None)
    stored = samples_file.read_samples(path)
    for phase, columns in ((Phase.WARMUP, stored.warmup), (Phase.MEASURE, stored.measured)):
        mine = requests[requests["phase"] == phase]
        mine = mine[np.argsort(mine["intended_ns"], kind="stable")]
        for name in Measured.__slots__:
            column = getattr(columns, name)
            assert column.dtype == REQUEST[name]
            assert column.tolist() == mine[name].tolist()
    assert (stored.classes, stored.reasons) == (("a", "b"), ("why",))


def test_no_requests_at_all_are_columns_without_any(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    for chunks in ([], [some_requests(0)]):
        samples_file.write_requests(path, chunks, ["a"], [], None)
        stored = samples_file.read_samples(path)
        assert stored.measured.size == stored.warmup.size == 0
        assert samples_file.read_requests(path).requests.size == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs a small tmpfs, and only root may mount one here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_on_a_full_disk_the_earlier_file_stays_whole(tiny_disk: Path) -> None:
    path = tiny_disk / "requests.parquet"
    few = some_requests(10)
    samples_file.write_requests(path, [few], ["a", "b"], ["why"], None)
    many = some_requests(300_000)
    many["completed_ns"] = np.random.default_rng(1).integers(0, 2**62, many.size)  # doesn't compress
    with pytest.raises(HarnessError, match=r"No space left on device.*make room"):
        samples_file.write_requests(path, [many], ["a", "b"], ["why"], None)
    assert list(tiny_disk.iterdir()) == [path]
    assert samples_file.read_requests(path).requests.tobytes() == few.tobytes()


def test_a_folder_that_is_missing_or_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent" / "host.parquet", tmp_path / "file" / "host.parquet"):
        with pytest.raises(HarnessError, match="can't be written"):
            samples_file.write_host(path, [])


def test_what_is_missing_damaged_or_another_s_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    with pytest.raises(InputError, match=r"is missing: take it from a copy"):
        samples_file.read_requests(path)
    path.write_bytes(b"not parquet")
    for read in (samples_file.read_requests, samples_file.read_samples):
        with pytest.raises(InputError, match="is damaged"):
            read(path)
    samples_file.write_requests(path, [some_requests(50_000)], ["a", "b"], ["why"], None)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        samples_file.read_requests(path)
    samples_file.write_host(path, [])
    with pytest.raises(InputError, match="is damaged"):
        samples_file.read_requests(path)


def test_a_flipped_bit_in_the_data_is_never_read_as_a_measurement(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    requests = some_requests(5_000)
    requests["received_bytes"] = np.random.default_rng(1).integers(0, 2**32, requests.size)  # stays as it is
    samples_file.write_requests(path, [requests], ["a", "b"], ["why"], None)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    refused = 0
    for position in np.random.default_rng(2).integers(4, footer, 200).tolist():
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            assert samples_file.read_requests(path).requests.tobytes() == requests.tobytes()
        except InputError as error:
            assert "is damaged" in str(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("classes", ['["a"]', '["a", "b"', "null"])
def test_a_file_whose_class_names_do_not_fit_its_rows_is_damaged(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "requests.parquet"
    samples_file.write_requests(path, [some_requests(5)], ["a", "b"], ["why"], None)
    table = pq.read_table(path)
    changed = table.schema.metadata | {b"harness.classes": classes.encode()}
    pq.write_table(table.replace_schema_metadata(changed), path)
    with pytest.raises(InputError, match="is damaged"):
        samples_file.read_requests(path)


KEEP_AND_READ = """
import sys
from pathlib import Path
import numpy as np
from harness.schema.samples import NO_BYTE, REQUEST, HostReading
from harness.store import samples_file as file
import harness.commands.run
folder = Path(sys.argv[1])
requests = np.ones(3, REQUEST)
requests["request_class"], requests["first_byte_ns"], requests["reason"] = 0, (1, NO_BYTE, 1), (0, 1, 0)
file.write_requests(folder / "requests.parquet", [requests], ["a"], ["lost"], None)
file.write_host(folder / "host.parquet", [HostReading(1, None, 2.0, 3.0, 4, None)])
file.write_gpu(folder / "gpu.parquet", [])
assert (file.read_requests(folder / "requests.parquet").requests == requests).all()
assert file.read_samples(folder / "requests.parquet").reasons == ("lost",)
assert len(file.read_host(folder / "host.parquet")) == 1
assert "pandas" not in sys.modules, "a quarter of a second of each command's time"
"""


def test_a_run_is_kept_and_read_without_pandas(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KEEP_AND_READ, tmp_path], check=True)
