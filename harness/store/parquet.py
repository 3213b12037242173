"""A Parquet file of this project: whole or not there, notes in its metadata, every page checked when read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.schema.errors import InputError
from harness.store import atomic

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


_DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, TypeError)
"""What reading a file raises whose bytes aren't those that were written."""


class Opened:
    """A Parquet file that must be one of ours, of one of `schemas`; what is wrong with it becomes an
    InputError."""

    def __init__(self, path: Path, *schemas: Any) -> None:
        self._path, self._schemas = path, schemas

    def __enter__(self) -> Any:
        try:
            self._file = pq.ParquetFile(self._path, page_checksum_verification=True)
        except FileNotFoundError as error:
            raise InputError(
                f"{self._path} is missing: measure the point again with `harness run --resume`"
            ) from error
        except _DAMAGE as error:
            raise self._damaged() from error
        schema = self._file.schema_arrow
        known = any(schema.equals(ours, check_metadata=False) for ours in self._schemas)
        if not known or noted(self._file, "schema_version") != SCHEMA_VERSION:
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


def noted(file: Any, key: str) -> Any:
    """A value of the key-value metadata; None where the file has none of that name."""
    value = (file.schema_arrow.metadata or {}).get(f"harness.{key}".encode())
    return None if value is None else json.loads(value)
