"""A Parquet file of this project: whole or not there, notes in its metadata, every page checked when read.

One that somebody sent is first held against its own size (harness.store.parquet_bounds).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness import atomic
from harness.plain_file import open_plain
from harness.schema.errors import InputError
from harness.store import thinned, whole
from harness.store.parquet_bounds import check_bounds, told_rows

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


_DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
"""What reading a file raises whose bytes aren't those that were written."""


def rows_told(path: Path) -> int:
    """How many rows the file says it has; nothing of it is unpacked. Raises NotWhole where its end isn't one
    of a Parquet file, or it can't be read."""
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
            return told_rows(stream)
    except _DAMAGE as error:
        raise _fault(path, error) from error


class Opened:
    """A Parquet file that must be one of ours, of one of `schemas`; what is wrong with it becomes a
    NotWhole. Strings are read as dictionaries, in which each stands once: else a long one would take its
    length for each row."""

    def __init__(self, path: Path, *schemas: Any) -> None:
        self._path, self._schemas = path, schemas

    def __enter__(self) -> Any:
        try:
            with os.fdopen(open_plain(self._path), "rb") as stream:
                check_bounds(stream)
                # Arrow takes no name that isn't UTF-8; and so it reads what was looked at.
                same = f"/proc/self/fd/{stream.fileno()}"
                self._file = pq.ParquetFile(same, page_checksum_verification=True)
                schema, version = self._file.schema_arrow, noted(self._file, "schema_version")
                self._file.close()
                strings = _strings(self._file.metadata.schema)
                self._file = pq.ParquetFile(same, page_checksum_verification=True, read_dictionary=strings)
        except _DAMAGE as error:
            raise _fault(self._path, error) from error
        known = any(schema.equals(ours, check_metadata=False) for ours in self._schemas)
        if not known or version != SCHEMA_VERSION:
            self._file.close()
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise whole.later(self._path, version, SCHEMA_VERSION)
            raise whole.damaged(self._path, "it has other columns than harness writes")
        return self._file

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._file.close()
        if isinstance(error, _DAMAGE):
            raise _fault(self._path, error) from error


def _fault(path: Path, error: BaseException) -> InputError:
    if isinstance(error, FileNotFoundError):
        return thinned.missing(path)
    # The system's own, and not that of a reader that was led astray.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return whole.unreadable(path, error)
    return whole.damaged(path)


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


def _strings(schema: Any) -> list[str]:
    """The columns of strings, by their paths in Parquet."""
    columns = map(schema.column, range(len(schema)))
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
