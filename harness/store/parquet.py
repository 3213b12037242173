"""A Parquet file of this project: whole or not there, notes in its metadata, every page checked when read.

One that somebody sent may promise more than it holds, or hold gigabytes in a few kilobytes. What its metadata
says is held against the file's size before anything of it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from harness.plain import open_plain
from harness.schema.errors import InputError
from harness.store import atomic
from harness.store.parquet_pages import check_pages

SCHEMA_VERSION = 1

CHUNK_ROWS = 1 << 18
"""Most rows of a row group, and so of what is in memory at once when a file is read."""


def write(path: Path, schema: Any, notes: dict[str, str], tables: Iterable[Any]) -> None:
    """All of `tables` become `path` at once, or it stays what it was."""
    notes = {"schema_version": str(SCHEMA_VERSION)} | notes
    schema = schema.with_metadata({f"harness.{key}": value for key, value in notes.items()})
    with (
        atomic.replacing(path) as stream,
        pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata), CHUNK_ROWS)


SPARE_ROWS = 1_000_000
LEAST_ROW_BYTES = 4
"""A file has at most a row for each of these bytes of it, and the spare ones. Times in nanoseconds don't get
smaller: requests take about 20 bytes. So a file takes memory by what it weighs, not by what it says."""

MOST_GROUP_ROWS = 1 << 20
MOST_FOOTER_BYTES = 16_000_000
"""The metadata's, which takes ten times that once it is read: of two thousand million requests."""

SPARE_COLUMN_BYTES = 8_000_000
MOST_VALUE_BYTES = 16
"""A column of a row group unpacks to at most this for each value, and the spare ones for names and pages."""

_DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
"""What reading a file raises whose bytes aren't those that were written."""


class Opened:
    """A Parquet file that must be one of ours, of one of `schemas`; what is wrong with it becomes an
    InputError. Strings are read as dictionaries, in which each stands once: else a long one would take its
    length for each row."""

    def __init__(self, path: Path, *schemas: Any) -> None:
        self._path, self._schemas = path, schemas

    def __enter__(self) -> Any:
        try:
            with os.fdopen(open_plain(self._path), "rb") as stream:
                file_bytes = _check_footer(stream)
                self._file = pq.ParquetFile(self._path, page_checksum_verification=True)
                _check_bounds(self._file.metadata, file_bytes, stream)
            schema, version = self._file.schema_arrow, noted(self._file, "schema_version")
        except FileNotFoundError as error:
            raise InputError(
                f"{self._path} is missing: measure the point again with `harness run --resume`"
            ) from error
        except _DAMAGE as error:
            raise self._damaged() from error
        strings = _strings(self._file.metadata.schema)
        known = any(schema.equals(ours, check_metadata=False) for ours in self._schemas)
        self._file.close()
        if not known or version != SCHEMA_VERSION:
            raise InputError(
                f"{self._path} isn't a file this version of harness wrote: "
                "read it with the version in its run's result.json"
            )
        self._file = pq.ParquetFile(self._path, page_checksum_verification=True, read_dictionary=strings)
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


def noted(file: Any, key: str) -> Any:
    """A value of the key-value metadata; None where the file has none of that name."""
    value = (file.schema_arrow.metadata or {}).get(f"harness.{key}".encode())
    return None if value is None else json.loads(value)


def names_noted(file: Any, key: str) -> tuple[str, ...]:
    """As `noted`, of a list of names. Raises ValueError for anything else."""
    found = noted(file, key)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} are no names")
    return tuple(found)


def groups(file: Any) -> list[int]:
    """The row groups with rows in them."""
    metadata = file.metadata
    return [i for i in range(metadata.num_row_groups) if metadata.row_group(i).num_rows]


def _check_footer(stream: BinaryIO) -> int:
    """The file's size. Raises ValueError where the metadata is larger than it can be."""
    file_bytes = stream.seek(-8, os.SEEK_END) + 8
    length, magic = stream.read(4), stream.read(4)
    if magic != b"PAR1" or int.from_bytes(length, "little") > MOST_FOOTER_BYTES:
        raise ValueError("no metadata, or too much of it")
    return file_bytes


def _strings(schema: Any) -> list[str]:
    """The columns of strings, by their paths in Parquet."""
    columns = map(schema.column, range(len(schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]


def _check_bounds(metadata: Any, file_bytes: int, stream: BinaryIO) -> None:
    """Raise ValueError where the file holds more than its size can, or says so."""
    most = SPARE_ROWS + file_bytes // LEAST_ROW_BYTES
    parts = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    if not 0 <= metadata.num_rows <= most or sum(group.num_rows for group in parts) != metadata.num_rows:
        raise ValueError("more rows than the file can hold")
    for group in parts:
        if group.num_rows == 0:
            continue  # nobody reads it
        if not 0 <= group.num_rows <= MOST_GROUP_ROWS:
            raise ValueError("a row group that harness doesn't write")
        for column in map(group.column, range(group.num_columns)):
            flat = "." not in column.path_in_schema
            if (flat and column.num_values != group.num_rows) or not 0 <= column.num_values <= most:
                raise ValueError("more values than rows")
            room = SPARE_COLUMN_BYTES + MOST_VALUE_BYTES * column.num_values
            if not 0 <= column.total_uncompressed_size <= room:
                raise ValueError("a column that unpacks to more than its values")
            check_pages(stream, column, room)
