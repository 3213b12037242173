"""Raw samples as Parquet: every request, host reading and GPU reading, readable by any other tool.

Names instead of codes, null for what was not observed, times in CLOCK_MONOTONIC nanoseconds. What a column
doesn't hold (schema version, clock, window, all class names) stands in the file's key-value metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.schema.errors import HarnessError, InputError
from harness.schema.samples import REQUEST, GpuReading, HostReading, Phase, Requests, Status, Window

SCHEMA_VERSION = 1

CLOCK = "nanoseconds of CLOCK_MONOTONIC, the same for all processes of the host that measured"

CHUNK_ROWS = 1 << 18
"""Rows of a row group, and so of what is in memory at once: about 13 MB of records."""

_NO_BYTE = -1
"""`first_byte_ns` of a request that was not answered."""

_NAMES = pa.dictionary(pa.uint16(), pa.string())

_REQUESTS = pa.schema(
    [
        pa.field("request_class", _NAMES, nullable=False),
        pa.field("status", _NAMES, nullable=False),
        pa.field("phase", _NAMES, nullable=False),
        pa.field("worker", pa.uint16(), nullable=False),
        pa.field("reason", _NAMES),
        pa.field("intended_ns", pa.int64(), nullable=False),
        pa.field("sent_ns", pa.int64(), nullable=False),
        pa.field("first_byte_ns", pa.int64()),
        pa.field("completed_ns", pa.int64(), nullable=False),
        pa.field("sent_bytes", pa.uint32(), nullable=False),
        pa.field("received_bytes", pa.uint32(), nullable=False),
    ]
)

_HOST = pa.schema(
    [
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("server_cpu_s", pa.float64()),
        pa.field("client_cpu_s", pa.float64()),
        pa.field("host_cpu_s", pa.float64(), nullable=False),
        pa.field("server_memory_bytes", pa.int64()),
        pa.field("client_memory_bytes", pa.int64()),
    ]
)

_GPU = pa.schema(
    [
        pa.field("at_ns", pa.int64(), nullable=False),
        pa.field("device", pa.int32(), nullable=False),
        pa.field("utilization", pa.float64()),
        pa.field("memory_bytes", pa.int64()),
        pa.field("power_w", pa.float64()),
        pa.field("energy_j", pa.float64()),
        pa.field("temperature_c", pa.float64()),
        pa.field("sm_clock_hz", pa.float64()),
        pa.field("memory_clock_hz", pa.float64()),
        pa.field("throttle_reasons", pa.list_(pa.string())),
    ]
)


class StoredRequests(NamedTuple):
    requests: Requests
    """An array of REQUEST, in the order in which it was written."""
    classes: tuple[str, ...]
    """What `request_class` points into."""
    reasons: tuple[str, ...]
    """What `reason` - 1 points into."""


def write_requests(
    path: Path, records: Requests, classes: Sequence[str], reasons: Sequence[str], window: Window | None
) -> None:
    """Write records of REQUEST to `path`, in chunks: `records` may be a np.memmap larger than memory.

    Raises HarnessError, with the earlier file intact, when `path` can't be written, or when a record
    points to a class, reason, status or phase that doesn't exist, as a damaged spool's would.
    """
    notes = {
        "clock": CLOCK,
        "classes": json.dumps(list(classes)),
        "reasons": json.dumps(list(reasons)),
        "window_ns": json.dumps(None if window is None else [window.start_ns, window.end_ns]),
    }
    names = _Dictionaries(classes, reasons)
    chunks = (
        names.table(records[start : start + CHUNK_ROWS]) for start in range(0, len(records), CHUNK_ROWS)
    )
    _write(path, _REQUESTS, notes, chunks)


def read_requests(path: Path) -> StoredRequests:
    """Exactly what was written. Raises InputError when `path` is no such file, or is damaged."""
    with _Opened(path, _REQUESTS) as file:
        classes, reasons = _noted(file, "classes"), _noted(file, "reasons")
        requests = np.zeros(file.metadata.num_rows, dtype=REQUEST)
        codes = {
            "request_class": {name: i for i, name in reversed(list(enumerate(classes)))},
            "status": {_name(s): int(s) for s in Status},
            "phase": {_name(p): int(p) for p in Phase},
            "reason": {text: 1 + i for i, text in reversed(list(enumerate(reasons)))},
        }
        start = 0
        for batch in file.iter_batches(batch_size=CHUNK_ROWS):
            rows = requests[start : start + batch.num_rows]
            for name in _REQUESTS.names:
                column = batch.column(name)
                rows[name] = _coded(column, codes[name]) if name in codes else _filled(column)
            start += batch.num_rows
    return StoredRequests(requests, tuple(classes), tuple(reasons))


def read_window(path: Path) -> Window | None:
    """The measured phase that was written with the requests."""
    with _Opened(path, _REQUESTS) as file:
        window = _noted(file, "window_ns")
    return None if window is None else Window(*window)


def write_host(path: Path, readings: Sequence[HostReading]) -> None:
    """Raises HarnessError, with the earlier file intact, when `path` can't be written."""
    _write_readings(path, _HOST, readings)


def read_host(path: Path) -> list[HostReading]:
    """Exactly what was written. Raises InputError when `path` is no such file, or is damaged."""
    with _Opened(path, _HOST) as file:
        return [HostReading(**row) for row in file.read().to_pylist()]


def write_gpu(path: Path, readings: Sequence[GpuReading]) -> None:
    """Raises HarnessError, with the earlier file intact, when `path` can't be written."""
    _write_readings(path, _GPU, readings)


def read_gpu(path: Path) -> list[GpuReading]:
    """Exactly what was written. Raises InputError when `path` is no such file, or is damaged."""
    with _Opened(path, _GPU) as file:
        rows = file.read().to_pylist()
    for row in rows:
        reasons = row["throttle_reasons"]
        row["throttle_reasons"] = None if reasons is None else tuple(reasons)
    return [GpuReading(**row) for row in rows]


class _Dictionaries:
    """The names behind the codes of REQUEST."""

    def __init__(self, classes: Sequence[str], reasons: Sequence[str]) -> None:
        self._of = {
            "request_class": pa.array(classes, pa.string()),
            "status": pa.array([_name(s) for s in Status], pa.string()),
            "phase": pa.array([_name(p) for p in Phase], pa.string()),
            "reason": pa.array(reasons, pa.string()),
        }

    def table(self, records: Requests) -> Any:
        return pa.Table.from_arrays([self._column(n, records[n]) for n in _REQUESTS.names], schema=_REQUESTS)

    def _column(self, name: str, values: npt.NDArray[Any]) -> Any:
        if name == "first_byte_ns":
            return pa.array(values, mask=values == _NO_BYTE)
        if name not in self._of:
            return pa.array(np.ascontiguousarray(values))
        codes, mask = values.astype(np.uint16), None
        if name == "reason":  # 0 is none, and the first one is 1
            codes, mask = codes - np.uint16(1), codes == 0
        known = len(self._of[name])
        if np.any((codes >= known) if mask is None else (codes >= known) & ~mask):
            raise HarnessError(
                f"a recorded request has a {name} that doesn't exist, so the load's records are damaged: "
                "run the point again, and check the disk if that happens twice"
            )
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), self._of[name])


_DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError)
"""What reading a file raises whose bytes aren't those that were written."""


class _Opened:
    """A Parquet file that must be one of ours; what is wrong with it becomes an InputError."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._path, self._schema = path, schema

    def __enter__(self) -> Any:
        try:
            self._file = pq.ParquetFile(self._path, page_checksum_verification=True)
        except FileNotFoundError as error:
            raise InputError(
                f"{self._path} is missing: measure the point again with `harness run --resume`"
            ) from error
        except _DAMAGE as error:
            raise self._damaged() from error
        if not self._file.schema_arrow.equals(self._schema, check_metadata=False) or (
            _noted(self._file, "schema_version") != SCHEMA_VERSION
        ):
            self._file.close()
            raise InputError(
                f"{self._path} isn't a file this version of harness wrote: "
                "read it with the version in its run's result.json"
            )
        return self._file

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._file.close()
        if isinstance(error, _DAMAGE):
            raise self._damaged() from error

    def _damaged(self) -> InputError:
        return InputError(
            f"{self._path} is damaged: remove its folder and measure the point again with "
            "`harness run --resume`"
        )


def _write_readings(path: Path, schema: Any, readings: Iterable[HostReading | GpuReading]) -> None:
    rows = [asdict(reading) for reading in readings]
    _write(path, schema, {"clock": CLOCK}, [pa.Table.from_pylist(rows, schema=schema)])


def _write(path: Path, schema: Any, notes: dict[str, str], tables: Iterable[Any]) -> None:
    """All of `tables` become `path` at once, or it stays what it was."""
    notes = {"schema_version": str(SCHEMA_VERSION)} | notes
    schema = schema.with_metadata({f"harness.{key}": value for key, value in notes.items()})
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as stream:
            with pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
                for table in tables:
                    writer.write_table(table.replace_schema_metadata(schema.metadata))
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise HarnessError(
            f"{path} can't be written ({error.strerror or error}): make room or choose another folder with "
            "--results; what was measured before is kept, and `harness run --resume` goes on from there"
        ) from error
    finally:
        with suppress(OSError):
            scratch.unlink()


def _sync_folder(folder: Path) -> None:
    """So that the new name, too, outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _noted(file: Any, key: str) -> Any:
    """A value of the key-value metadata; None where the file has none of that name."""
    value = (file.schema_arrow.metadata or {}).get(f"harness.{key}".encode())
    return None if value is None else json.loads(value)


def _coded(column: Any, codes: dict[str, int]) -> npt.NDArray[np.uint16]:
    """Names back to codes; null is 0."""
    of_entry = np.array([codes[name] for name in column.dictionary.to_pylist()], dtype=np.uint16)
    if column.null_count == 0:
        every: npt.NDArray[np.uint16] = of_entry[column.indices.to_numpy()]
        return every
    present = column.is_valid().to_numpy(zero_copy_only=False)
    values = np.zeros(len(column), dtype=np.uint16)
    values[present] = of_entry[column.indices.drop_null().to_numpy()]
    return values


def _filled(column: Any) -> Any:
    return column.fill_null(_NO_BYTE).to_numpy() if column.null_count else column.to_numpy()


def _name(member: IntEnum) -> str:
    return member.name.lower()
