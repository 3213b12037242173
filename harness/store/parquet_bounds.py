"""Whether a Parquet file holds what its size can, found out before anything of it is unpacked.

A few kilobytes can unpack to gigabytes, and promise more. The metadata at the file's end tells of rows and
columns, and each page's own header how much is allocated for it and by which encoding it is unpacked; either
can be made up. pyarrow is asked only afterwards: on some metadata it ends the process.

Format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import os
from typing import BinaryIO

from harness.store.thrift import BINARY, I32, I64, LIST, STRUCT, Compact, Struct

SPARE_ROWS = 1_000_000
LEAST_ROW_BYTES = 4
"""A file has at most a row for each of these bytes of it, and the spare ones. Times in nanoseconds don't get
smaller: requests take about 20 bytes. So a file takes memory by what it weighs, not by what it says."""

MOST_GROUP_ROWS = 1 << 20
MOST_METADATA_BYTES = 4_000_000
"""The bytes of four hundred million requests."""

SPARE_COLUMN_BYTES = 8_000_000
MOST_VALUE_BYTES = 16
"""A column of a row group unpacks to at most this for each value, and the spare ones for names and pages."""

SPARE_PAGES = 16
FEWEST_VALUES = 256
"""Values of a page on average, beyond the spare pages; those of harness have thousands."""

MOST_HEADER_BYTES = 1 << 16

_MAGIC = b"PAR1"
_DATA, _DICTIONARY = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_ENCODINGS = (_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY)
"""What harness writes: by these, no value unpacks to more than what stands in its page or its dictionary."""


def check_bounds(stream: BinaryIO) -> None:
    """Raise ValueError where the file holds more than its size can, says so, or is packed as harness doesn't.

    Raises LookupError, ArithmeticError or OSError for a file that is torn or none of Parquet.
    """
    metadata, file_bytes = _metadata(stream)
    most = SPARE_ROWS + file_bytes // LEAST_ROW_BYTES
    leaves = sum((5, I32) not in element for element in metadata[2, LIST])
    groups: list[Struct] = metadata[4, LIST]
    rows = [group[3, I64] for group in groups]
    if (
        metadata[3, I64] != sum(rows)
        or not 0 <= sum(rows) <= most
        or not all(0 <= r <= MOST_GROUP_ROWS for r in rows)
    ):
        raise ValueError("more rows than the file can hold")
    for group, of_group in zip(groups, rows, strict=True):
        columns: list[Struct] = group[1, LIST]
        if len(columns) != leaves:
            raise ValueError("columns that the schema doesn't have")
        for column in columns if of_group else ():  # nobody reads one that is empty
            if (1, BINARY) in column:
                raise ValueError("a column in another file")
            _check_column(stream, column[3, STRUCT], of_group, most)


def told_rows(stream: BinaryIO) -> int:
    """How many rows the file's metadata tells of. Nothing else is looked at. Raises as `check_bounds`."""
    rows: int = _metadata(stream)[0][3, I64]
    return rows


def _metadata(stream: BinaryIO) -> tuple[Struct, int]:
    """What stands at the file's end, and the bytes of the file."""
    file_bytes = stream.seek(-8, os.SEEK_END) + 8
    length = int.from_bytes(stream.read(4), "little")
    if stream.read(4) != _MAGIC or length > min(MOST_METADATA_BYTES, file_bytes - 8):
        raise ValueError("no metadata, or too much of it")
    stream.seek(-8 - length, os.SEEK_END)
    return Compact(stream.read(length)).struct(), file_bytes


def _check_column(stream: BinaryIO, column: Struct, rows: int, most: int) -> None:
    values, unpacked_bytes = column[5, I64], column[6, I64]
    is_list = len(column[3, LIST]) > 1
    if not 0 <= values <= most or (values != rows and not is_list):
        raise ValueError("more values than rows")
    room = SPARE_COLUMN_BYTES + MOST_VALUE_BYTES * values
    if not 0 <= unpacked_bytes <= room:
        raise ValueError("a column that unpacks to more than its values")
    at, dictionary_at = column[9, I64], column.get((11, I64), 0)
    at = dictionary_at if 0 < dictionary_at < at else at
    _check_pages(stream, at, at + column[7, I64], values, room)


def _check_pages(stream: BinaryIO, at: int, end: int, values: int, room: int) -> None:
    """Check a column of a row group, which has `values` and may unpack to `room` bytes."""
    pages = of_pages = unpacked_bytes = 0
    while at < end:
        stream.seek(at)
        reader = Compact(stream.read(MOST_HEADER_BYTES))
        header = reader.struct()
        kind, unpacked, packed = header[1, I32], header[2, I32], header[3, I32]
        if unpacked < 0 or packed < 0 or kind not in (_DATA, _DICTIONARY):
            raise ValueError("a page that harness doesn't write")
        of_kind = header[5 if kind == _DATA else 7, STRUCT]
        if of_kind[2, I32] not in _ENCODINGS or of_kind[1, I32] < 0:
            raise ValueError("an encoding that harness doesn't write")
        pages += 1
        of_pages += of_kind[1, I32] if kind == _DATA else 0
        unpacked_bytes += unpacked
        at += reader.at + packed
        if unpacked_bytes > room or pages > SPARE_PAGES + values // FEWEST_VALUES:
            raise ValueError("pages that unpack to more than their values")
    if of_pages != values:
        raise ValueError("pages with other values than the metadata says")
