"""Raw samples as Parquet: every request, host reading and GPU reading, readable by any other tool.

Names instead of codes, null for what was not observed, times in CLOCK_MONOTONIC nanoseconds. What a column
doesn't hold (schema version, clock, window, all class names) stands in the file's key-value metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.analysis.columns import gather
from harness.schema.errors import HarnessError
from harness.schema.samples import (
    NO_BYTE,
    REQUEST,
    SEQUENCE,
    GpuProcess,
    GpuReading,
    HostReading,
    Measured,
    Phase,
    Requests,
    SequenceEnd,
    Sequences,
    Status,
    Window,
)
from harness.store.arrow_arrays import arrow, numbers, present, strings
from harness.store.parquet import Opened, groups, names_noted, noted, write
from harness.store.record import LARGEST
from harness.store.whole import damaged

CLOCK = "nanoseconds of CLOCK_MONOTONIC, the same for all processes of the host that measured"

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

_OF_REPLICAS = pa.schema([*_REQUESTS, pa.field("replica", _NAMES, nullable=False)])
"""Of a load that was spread over several servers: by address, which one answered."""

_SEQUENCES = pa.schema(
    [
        pa.field("request_class", pa.string(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("how", pa.string(), nullable=False),
        pa.field("steps", pa.int64(), nullable=False),
        pa.field("began_ns", pa.int64(), nullable=False),
        pa.field("ended_ns", pa.int64(), nullable=False),
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
        pa.field("harness_cpu_s", pa.float64()),
        pa.field("host_process_cpu_s", pa.float64()),
        pa.field("stolen_cpu_s", pa.float64()),
        pa.field("throttled_cpu_s", pa.float64()),
    ]
)

_GPU_AT_FIRST = pa.schema(
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
        pa.field("foreign_processes", pa.list_(pa.string())),
    ]
)
"""Files with no more than these columns are read as well."""

_PROCESS = pa.struct([("pid", pa.int64()), ("name", pa.string()), ("memory_bytes", pa.int64())])

_GPU = pa.schema(
    [
        *_GPU_AT_FIRST,
        pa.field("mig_instance", pa.int32()),
        pa.field("sm_activity", pa.float64()),
        pa.field("sm_occupancy", pa.float64()),
        pa.field("tensor_activity", pa.float64()),
        pa.field("dram_activity", pa.float64()),
        pa.field("pcie_tx_bytes_per_s", pa.float64()),
        pa.field("pcie_rx_bytes_per_s", pa.float64()),
        pa.field("ecc_errors", pa.int64()),
        pa.field("processes", pa.list_(_PROCESS)),
    ]
)


class Stored(NamedTuple):
    """What the figures and the charts of a point are made of."""

    warmup: Measured
    measured: Measured
    classes: tuple[str, ...]
    """What `request_class` points into."""
    reasons: tuple[str, ...]
    """What `reason` - 1 points into."""
    replicas: tuple[str, ...] = ()
    """Where there are some, `request_class` counts the classes of the first, then those of the next."""


class StoredRequests(NamedTuple):
    requests: Requests
    """An array of REQUEST, in the order in which it was written."""
    classes: tuple[str, ...]
    reasons: tuple[str, ...]
    replicas: tuple[str, ...] = ()
    """As in Stored."""


def write_requests(
    path: Path,
    chunks: Iterable[Requests],
    classes: Sequence[str],
    reasons: Sequence[str],
    window: Window | None,
    replicas: Sequence[str] = (),
) -> None:
    """Write arrays of REQUEST to `path`, one after the other: only one is in memory at a time.
    With `replicas` they are as Stored has them.

    Raises HarnessError, with the earlier file intact, when `path` can't be written, or when a record
    points to a class, reason, status or phase that doesn't exist, as a damaged spool's would.
    """
    notes = {
        "clock": CLOCK,
        "classes": json.dumps(list(classes)),
        "reasons": json.dumps(list(reasons)),
        "window_ns": json.dumps(None if window is None else [window.start_ns, window.end_ns]),
    }
    if replicas:
        notes["replicas"] = json.dumps(list(replicas))
    names = _Dictionaries(classes, reasons, replicas)
    write(path, names.schema, notes, (names.table(chunk) for chunk in chunks))


def read_samples(path: Path) -> Stored:
    """The columns that figures are made of, without the records. About 30 bytes a request, and while they are
    put in order 46. Raises InputError when `path` is no such file, or is damaged."""
    with Opened(path, _REQUESTS, _OF_REPLICAS) as file:
        names = _names_of(file)
        chunks = _possible(_chunks(file, *names, [*Measured.__slots__, "phase"]))
        warmup, measured = gather(chunks, file.metadata.num_rows)
    return Stored(warmup, measured, *names)


def read_requests(path: Path) -> StoredRequests:
    """Exactly what was written. Raises InputError when `path` is no such file, is damaged, or has times that
    no point's requests can have."""
    with Opened(path, _REQUESTS, _OF_REPLICAS) as file:
        names = _names_of(file)
        requests = np.zeros(file.metadata.num_rows, dtype=REQUEST)
        start = 0
        for columns in _possible(_chunks(file, *names, _REQUESTS.names)):
            rows = requests[start : start + columns["status"].size]
            for name, column in columns.items():
                rows[name] = column
            start += rows.size
    return StoredRequests(requests, *names)


LONGEST_NS = 10**16
"""116 days: no point lasts as long."""

EARLY_NS = 10**9
"""A request doesn't end before it is due or sent, but for what the clocks of two machines leave open."""


def _possible(chunks: Iterable[dict[str, npt.NDArray[Any]]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The same. Raises ValueError for times that no point's requests can have."""
    first_ns: int | None = None
    for columns in chunks:
        intended_ns, sent_ns, completed_ns = (columns[f"{n}_ns"] for n in ("intended", "sent", "completed"))
        first_ns = int(intended_ns[0]) if first_ns is None else first_ns
        for times_ns in (intended_ns, sent_ns, completed_ns):
            least, most = int(times_ns.min()), int(times_ns.max())
            if least < 0 or most > LARGEST or max(most - first_ns, first_ns - least) > LONGEST_NS:
                raise ValueError("times too far apart for a point")
        if min((completed_ns - sent_ns).min(), (completed_ns - intended_ns).min()) < -EARLY_NS:
            raise ValueError("a request that ended before it began")
        yield columns


def _names_of(file: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The names of request classes, reasons and replicas."""
    replicas = names_noted(file, "replicas") if "replica" in file.schema_arrow.names else ()
    return names_noted(file, "classes"), names_noted(file, "reasons"), replicas


def _chunks(
    file: Any,
    classes: Sequence[str],
    reasons: Sequence[str],
    replicas: Sequence[str],
    wanted: Sequence[str],
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Some columns of a requests file by name, as REQUEST has them, a row group at a time."""
    if replicas:
        wanted = [*wanted, "replica"]
    codes = {
        "replica": {name: i for i, name in reversed(list(enumerate(replicas)))},
        "request_class": {name: i for i, name in reversed(list(enumerate(classes)))},
        "status": {_name(s): int(s) for s in Status},
        "phase": {_name(p): int(p) for p in Phase},
        "reason": {text: 1 + i for i, text in reversed(list(enumerate(reasons)))},
    }
    for group in groups(file):  # iter_batches would keep what it has read
        table = file.read_row_group(group, columns=list(wanted), use_threads=False).combine_chunks()
        columns = ((name, table.column(name).chunk(0)) for name in wanted)
        found = {
            n: _coded(column, codes[n]) if n in codes else numbers(column, NO_BYTE) for n, column in columns
        }
        if replicas:
            found["request_class"] = found["request_class"] + found.pop("replica") * np.uint16(len(classes))
        yield found
    pa.default_memory_pool().release_unused()


def check_pages(path: Path) -> None:
    """Read a requests file through, with the checksum of each page. Raises InputError when `path` is no such
    file, or is damaged."""
    with Opened(path, _REQUESTS, _OF_REPLICAS) as file:
        for group in groups(file):
            file.read_row_group(group, use_threads=False)


def read_window(path: Path) -> Window | None:
    """The measured phase that was written with the requests."""
    with Opened(path, _REQUESTS, _OF_REPLICAS) as file:
        window = noted(file, "window_ns")
    return None if window is None else Window(*window)


def write_sequences(path: Path, sequences: Sequences, classes: Sequence[str]) -> None:
    """Raises HarnessError, with the earlier file intact, when `path` can't be written."""
    rows = [
        _SequenceRow(
            request_class=classes[row["request_class"]],
            phase=Phase(row["phase"]).name.lower(),
            how=SequenceEnd(row["how"]).name.lower(),
            steps=int(row["steps"]),
            began_ns=int(row["began_ns"]),
            ended_ns=int(row["ended_ns"]),
        )
        for row in sequences
    ]
    _write_readings(path, _SEQUENCES, rows)


def read_sequences(path: Path, classes: Sequence[str]) -> Sequences:
    """Exactly what was written. Raises InputError when `path` is no such file, or is damaged."""
    numbers_of = {name: number for number, name in enumerate(classes)}
    with Opened(path, _SEQUENCES) as file:
        rows = [_SequenceRow(**row) for row in _rows(file)]
    made = np.zeros(len(rows), SEQUENCE)
    for number, row in enumerate(rows):
        try:
            which = numbers_of[row.request_class], Phase[row.phase.upper()], SequenceEnd[row.how.upper()]
        except KeyError as error:
            raise damaged(path, f"nothing is called {str(error)[:60]}") from error
        made[number] = *which, row.steps, row.began_ns, row.ended_ns
    return made


@dataclass(frozen=True, slots=True)
class _SequenceRow:
    request_class: str
    phase: str
    how: str
    steps: int
    began_ns: int
    ended_ns: int


def write_host(path: Path, readings: Sequence[HostReading]) -> None:
    """Raises HarnessError, with the earlier file intact, when `path` can't be written."""
    _write_readings(path, _HOST, readings)


def read_host(path: Path) -> list[HostReading]:
    """Exactly what was written. Raises InputError when `path` is no such file, or is damaged."""
    with Opened(path, _HOST) as file:
        return [HostReading(**row) for row in _rows(file)]


def write_gpu(path: Path, readings: Sequence[GpuReading]) -> None:
    """Raises HarnessError, with the earlier file intact, when `path` can't be written."""
    _write_readings(path, _GPU, readings)


def read_gpu(path: Path) -> list[GpuReading]:
    """Exactly what was written; of an earlier version's file, None for what it didn't have.

    Raises InputError when `path` is no such file, or is damaged.
    """
    with Opened(path, _GPU, _GPU_AT_FIRST) as file:
        return [GpuReading(**row) for row in _rows(file)]


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    """Row by row, a list as a tuple."""
    for batch in file.iter_batches(batch_size=10_000, row_groups=groups(file)):
        columns = [_listed(batch.column(name)) for name in batch.schema.names]
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, values, strict=True))


def _listed(column: Any) -> list[Any]:
    """The column's values, of which those that are the same string are one object."""
    if pa.types.is_list(column.type):
        values = _listed(column.values)
        starts, present = column.offsets.to_pylist(), column.is_valid().to_pylist()
        spans = zip(starts, starts[1:], present, strict=False)
        return [tuple(values[start:end]) if there else None for start, end, there in spans]
    if pa.types.is_struct(column.type):
        fields = [_listed(column.field(i)) for i in range(column.type.num_fields)]
        return [GpuProcess(*values) for values in zip(*fields, strict=True)]
    if pa.types.is_dictionary(column.type):
        names = column.dictionary.to_pylist()
        return [None if code is None else names[code] for code in column.indices.to_pylist()]
    plain: list[Any] = column.to_pylist()
    return plain


class _Dictionaries:
    """The names behind the codes of REQUEST."""

    def __init__(self, classes: Sequence[str], reasons: Sequence[str], replicas: Sequence[str] = ()) -> None:
        self.schema = _OF_REPLICAS if replicas else _REQUESTS
        self._classes = np.uint16(len(classes))
        self._of = {
            "replica": strings(replicas),
            "request_class": strings(classes),
            "status": strings([_name(s) for s in Status]),
            "phase": strings([_name(p) for p in Phase]),
            "reason": strings(reasons),
        }

    def table(self, records: Requests) -> Any:
        columns = {name: records[name] for name in _REQUESTS.names}
        if self.schema is _OF_REPLICAS:
            columns["replica"], columns["request_class"] = divmod(records["request_class"], self._classes)
        return pa.Table.from_arrays(
            [self._column(name, columns[name]) for name in self.schema.names], schema=self.schema
        )

    def _column(self, name: str, values: npt.NDArray[Any]) -> Any:
        if name == "first_byte_ns":
            return arrow(values, values == NO_BYTE)
        if name not in self._of:
            return arrow(values)
        codes, mask = values.astype(np.uint16), None
        if name == "reason":  # 0 is none, and the first one is 1
            codes, mask = codes - np.uint16(1), codes == 0
        known = len(self._of[name])
        if np.any((codes >= known) if mask is None else (codes >= known) & ~mask):
            raise HarnessError(
                f"a recorded request has a {name} that doesn't exist, so the load's records are damaged: "
                "run the point again, and check the disk if that happens twice"
            )
        return pa.DictionaryArray.from_arrays(arrow(codes, mask), self._of[name])


def _write_readings(
    path: Path, schema: Any, readings: Sequence[HostReading | GpuReading | _SequenceRow]
) -> None:
    tables = [_readings_table(schema, readings)] if readings else []
    write(path, schema, {"clock": CLOCK}, tables)


def _readings_table(schema: Any, readings: Sequence[HostReading | GpuReading | _SequenceRow]) -> Any:
    rows = [asdict(reading) for reading in readings]
    columns = [_readings_column([row[field.name] for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _readings_column(values: Sequence[Any], kind: Any) -> Any:
    if pa.types.is_nested(kind):  # which only a GPU's readings have
        return pa.array(values, kind)
    if pa.types.is_string(kind):
        return strings(values)
    absent = np.array([value is None for value in values])
    filled = [0 if value is None else value for value in values]
    return arrow(np.array(filled, dtype=kind.to_pandas_dtype()), absent)


def _coded(column: Any, codes: dict[str, int]) -> npt.NDArray[np.uint16]:
    """Names back to codes; null is 0."""
    of_entry = np.array([codes[name] for name in column.dictionary.to_pylist()], dtype=np.uint16)
    if column.null_count == 0:
        every: npt.NDArray[np.uint16] = of_entry[numbers(column.indices)]
        return every
    there = present(column.indices)
    values = np.zeros(len(column), dtype=np.uint16)
    values[there] = of_entry[numbers(column.indices)[there]]
    return values


def _name(member: IntEnum) -> str:
    return member.name.lower()
