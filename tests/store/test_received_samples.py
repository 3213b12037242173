"""Samples that somebody sent: small files that would take gigabytes, and values that nothing can have."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.commands.derived import derived
from harness.schema.errors import InputError
from harness.schema.samples import REQUEST, GpuProcess, GpuReading, HostReading, Requests
from harness.store import parquet_bounds, samples_file
from harness.store.thrift import I32, LIST, STRUCT, Compact
from tests.analysis.samples import observed, point

READERS = {
    "requests.parquet": samples_file.read_samples,
    "host.parquet": samples_file.read_host,
    "gpu.parquet": samples_file.read_gpu,
}

HOST = HostReading(10**9, 1.0, 1.0, 1.0, 1, 1)
GPU = GpuReading(10**9, 0, 0.5, 2**30, 300.0, 10.0, 60.0, 1e9, 1e9, ("why",), ("x (1)",), None)
GPU = replace(GPU, processes=(GpuProcess(1, "x", 5),))


def some(count: int) -> Requests:
    requests = np.zeros(count, dtype=REQUEST)
    requests["intended_ns"] = requests["sent_ns"] = 10**12
    requests["completed_ns"] = requests["first_byte_ns"] = 10**12 + 10**6
    requests["phase"] = 1
    return requests


def good(folder: Path) -> None:
    samples_file.write_requests(folder / "requests.parquet", [some(3)], ["short"], [], None)
    samples_file.write_host(folder / "host.parquet", [HOST] * 3)
    samples_file.write_gpu(folder / "gpu.parquet", [GPU] * 3)


def refused(file: Path) -> None:
    with pytest.raises(InputError, match="is damaged"):
        READERS[file.name](file)


def rewritten(file: Path, rows: Any, **how: Any) -> None:
    """The file again, with the columns that `rows` makes of its table."""
    table = rows(pq.read_table(file))
    pq.write_table(table, file, **({"compression": "zstd", "row_group_size": 1 << 18} | how))


def repeated(times: int) -> Any:
    return lambda table: pa.concat_tables([table.slice(0, 1)] * times).combine_chunks()


def replaced(name: str, values: list[Any]) -> Any:
    def rows(table: Any) -> Any:
        at = table.schema.get_field_index(name)
        return table.slice(0, len(values)).set_column(
            at, table.schema.field(at), [pa.array(values, table.schema.field(at).type)]
        )

    return rows


MANY = 1_200_000


@pytest.mark.parametrize("name", ["requests.parquet", "host.parquet"])
def test_more_rows_than_a_file_can_hold_are_not_unpacked(tmp_path: Path, name: str) -> None:
    good(tmp_path)
    file = tmp_path / name
    table = pq.read_table(file).slice(0, 1)
    columns = [
        table.column(i).combine_chunks().take(pa.array(np.zeros(MANY, np.int8)))
        for i in range(table.num_columns)
    ]
    rewritten(file, lambda _: pa.Table.from_arrays(columns, schema=table.schema))
    assert file.stat().st_size < 200_000
    refused(file)


@pytest.mark.parametrize("column", ["throttle_reasons", "foreign_processes", "processes"])
def test_a_list_of_a_million_in_one_row_is_not_unpacked(tmp_path: Path, column: str) -> None:
    good(tmp_path)
    one: Any = {"pid": 1, "name": "x", "memory_bytes": 5} if column == "processes" else "x"
    rewritten(tmp_path / "gpu.parquet", replaced(column, [[one] * MANY]))
    assert (tmp_path / "gpu.parquet").stat().st_size < 200_000
    refused(tmp_path / "gpu.parquet")


def test_a_long_name_is_not_unpacked_for_each_row(tmp_path: Path) -> None:
    good(tmp_path)
    file = tmp_path / "gpu.parquet"
    rewritten(file, replaced("foreign_processes", [["x" * 30_000_000]]), dictionary_pagesize_limit=1 << 28)
    assert file.stat().st_size < 50_000
    refused(file)
    samples_file.write_gpu(file, [replace(GPU, foreign_processes=("x" * 1_000_000,))] * 30)
    assert file.stat().st_size < 50_000
    read = samples_file.read_gpu(file)
    assert len({id(row.foreign_processes[0]) for row in read if row.foreign_processes}) == 1, "1 MB, not 30"


def varint(value: int, length: int = 0) -> bytes:
    """A number as Thrift's compact protocol has it, in at least so many bytes."""
    value, out = value << 1, b""
    while value or not out or len(out) < length:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out[:-1] + bytes([out[-1] & 0x7F])


def test_pages_are_believed_rather_than_the_metadata_that_belittles_them(tmp_path: Path) -> None:
    good(tmp_path)
    file = tmp_path / "gpu.parquet"
    rewritten(file, replaced("foreign_processes", [["x" * 30_000_000]]), dictionary_pagesize_limit=1 << 28)
    group = pq.read_metadata(file).row_group(0)
    (says,) = [
        c.total_uncompressed_size for c in map(group.column, range(22)) if c.total_uncompressed_size > 10**7
    ]
    truth, content = varint(says), file.read_bytes()
    assert content.count(truth) == 1
    file.write_bytes(content.replace(truth, varint(1000, len(truth))))
    group = pq.read_metadata(file).row_group(0)
    assert max(group.column(i).total_uncompressed_size for i in range(22)) < 5000, "it says so now"
    refused(file)


@pytest.mark.parametrize(
    "content",
    [b"\x15\x02\x05\x02\x02\x00", b"\x1c" * 50, b"\x19\xf5\xff\xff\x7f", b"\x15" + b"\xff" * 11],
)
def test_thrift_that_readers_may_take_differently_is_refused(content: bytes) -> None:
    """A field twice, structs in structs, a list longer than its bytes, a number without an end."""
    with pytest.raises((ValueError, IndexError)):
        Compact(content).struct()
    assert Compact(b"\x15\x04\x15\x03\x00").struct() == {(1, I32): 2, (2, I32): -2}


@pytest.mark.parametrize(
    "how",
    [
        {"use_dictionary": False, "column_encoding": {"foreign_processes.list.element": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"at_ns": "DELTA_BINARY_PACKED"}},
        {"data_page_version": "2.0"},
    ],
)
def test_pages_by_which_little_becomes_much_are_not_read(tmp_path: Path, how: dict[str, Any]) -> None:
    good(tmp_path)
    rewritten(tmp_path / "gpu.parquet", lambda table: table, **how)
    refused(tmp_path / "gpu.parquet")


def test_more_pages_than_values_need_are_not_read(tmp_path: Path) -> None:
    good(tmp_path)
    rewritten(
        tmp_path / "host.parquet", repeated(3000), data_page_size=1, write_batch_size=1, use_dictionary=False
    )
    refused(tmp_path / "host.parquet")


def test_a_row_group_that_harness_does_not_write_is_not_read(tmp_path: Path) -> None:
    good(tmp_path)
    table = pq.read_table(tmp_path / "host.parquet").slice(0, 1)
    random = np.random.default_rng(1)
    rows = (1 << 20) + 1
    columns = [
        pa.array(random.integers(0, 2**60, rows)).cast(field.type, safe=False) for field in table.schema
    ]
    pq.write_table(
        pa.Table.from_arrays(columns, schema=table.schema), tmp_path / "host.parquet", row_group_size=1 << 21
    )
    refused(tmp_path / "host.parquet")


def test_metadata_that_is_larger_than_any_run_s_is_not_read(tmp_path: Path) -> None:
    good(tmp_path)
    rewritten(
        tmp_path / "host.parquet",
        lambda table: table.replace_schema_metadata(table.schema.metadata | {b"much": b"x" * 20_000_000}),
    )
    refused(tmp_path / "host.parquet")


@pytest.mark.parametrize("name", list(READERS))
@pytest.mark.parametrize("notes", ["[" * 100_000, "{", "", "1e999", '"1"'])
def test_a_version_that_is_no_number_is_no_traceback(tmp_path: Path, name: str, notes: str) -> None:
    good(tmp_path)
    noting = {b"harness.schema_version": notes.encode()}
    rewritten(tmp_path / name, lambda table: table.replace_schema_metadata(table.schema.metadata | noting))
    with pytest.raises(InputError, match=r"is damaged"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("key", ["classes", "reasons"])
@pytest.mark.parametrize("notes", ["5", "{}", "null", "[1]", '"short"', "[" * 100_000, "[[]]", "\ud800"])
def test_names_that_are_none_are_damage(tmp_path: Path, key: str, notes: str) -> None:
    good(tmp_path)
    noting = {f"harness.{key}".encode(): notes.encode(errors="surrogatepass")}
    rewritten(
        tmp_path / "requests.parquet",
        lambda table: table.replace_schema_metadata(table.schema.metadata | noting),
    )
    refused(tmp_path / "requests.parquet")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("intended_ns", -1), ("sent_ns", -(2**63)), ("completed_ns", 2**63 - 1), ("completed_ns", 2**62),
        ("intended_ns", 10**12 + 3 * 10**9), ("sent_ns", 10**12 + 3 * 10**9),
    ],
)  # fmt: skip
def test_times_that_no_request_has_are_damage(tmp_path: Path, name: str, value: int) -> None:
    requests = some(3)
    requests[name][2] = value
    samples_file.write_requests(tmp_path / "requests.parquet", [requests], ["short"], [], None)
    refused(tmp_path / "requests.parquet")


@pytest.fixture
def one(tmp_path: Path) -> Any:
    """The derivation of a point whose samples are in a folder."""
    from harness.store.run_folder import RunFolder

    of = point()
    folder = RunFolder(tmp_path).begin_point(of)
    good(folder)
    return folder, lambda: derived(of, RunFolder(tmp_path), observed(3))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
@pytest.mark.parametrize("file", ["host.parquet", "gpu.parquet"])
def test_readings_that_nothing_can_have_are_left_out(one: Any, file: str, value: float) -> None:
    folder, derive = one
    assert derive().result.requests == 3 and derive().faults == ()
    if file == "host.parquet":
        samples_file.write_host(folder / file, [HOST, replace(HOST, host_cpu_s=value)])
    else:
        samples_file.write_gpu(folder / file, [GPU, replace(GPU, power_w=value)])
    found = derive()
    (fault,) = found.faults
    assert f"{file} is damaged (it has values that nothing can have)" in fault
    assert found.result.requests == 3 and found.result.verdict != "valid"


def test_samples_of_another_point_are_refused(one: Any) -> None:
    folder, derive = one
    samples_file.write_requests(folder / "requests.parquet", [some(3)], ["short", "long"], [], None)
    with pytest.raises(InputError, match="its request classes aren't the point's"):
        derive()


BOMB = """
import sys, json, re
from pathlib import Path
from harness.schema.errors import InputError
from harness.store import samples_file
try:
    samples_file.read_samples(Path(sys.argv[1]))
    said = "read"
except InputError:
    said = "refused"
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
print(json.dumps([said, int(peak[1]) // 1024]))
"""


def test_a_small_file_takes_little_memory_whatever_it_says(tmp_path: Path) -> None:
    """Sixty million rows in two megabytes took 3.4 GB."""
    good(tmp_path)
    file = tmp_path / "requests.parquet"
    table = pq.read_table(file)
    group = pa.concat_tables([table.slice(0, 1)] * 1024).combine_chunks()
    group = pa.concat_tables([group] * 256).combine_chunks()
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(60):
            writer.write_table(group)
    assert file.stat().st_size < 1_000_000 and pq.read_metadata(file).num_rows > 15_000_000
    done = subprocess.run([sys.executable, "-c", BOMB, str(file)], capture_output=True, text=True, check=True)
    said, megabytes = json.loads(done.stdout)
    assert said == "refused" and megabytes < 400, done.stdout


def test_a_column_has_a_value_for_each_row(tmp_path: Path) -> None:
    """Unless it is of lists. A row group that says it has three rows, over pages of ten, has neither."""
    good(tmp_path)
    with (tmp_path / "host.parquet").open("rb") as stream:
        stream.seek(-8, 2)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(-8 - length, 2)
        (group,) = Compact(stream.read(length)).struct()[4, LIST]
        column = group[1, LIST][0][3, STRUCT]
        parquet_bounds._check_column(stream, column, 3, 100)
        with pytest.raises(ValueError, match="more values than rows"):
            parquet_bounds._check_column(stream, column, 2, 100)
        with pytest.raises(ValueError, match="more values than rows"):
            parquet_bounds._check_column(stream, column, 3, 2)
