"""The headers of a Parquet file's pages, read before anything is unpacked.

The metadata at a file's end only says what its pages unpack to; each page's own header decides how much is
allocated, and by which encoding a few bytes become many. Both can be made up.
Format: https://parquet.apache.org/docs/file-format/ (headers are structs of Thrift's compact protocol).
"""

from __future__ import annotations

from typing import Any, BinaryIO

MOST_HEADER_BYTES = 1 << 16
MOST_NESTED = 8
FEWEST_VALUES = 256
"""Of a page on average, for more than SPARE_PAGES; harness's have thousands."""
SPARE_PAGES = 16

_DATA, _DICTIONARY = 0, 2
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_ENCODINGS = (_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY)
"""What harness writes: of these, no value unpacks to more than what stands in its page or its dictionary."""


def check_pages(stream: BinaryIO, column: Any, most_bytes: int) -> None:
    """Raise ValueError where the pages of a column of a row group aren't such as harness writes, don't have
    the values that its metadata says, or unpack to more than `most_bytes`. Raises LookupError for torn ones.
    """
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    pages = values = unpacked_bytes = 0
    while at < end:
        header, length = _header(stream, at)
        kind, unpacked, packed = header[1], header[2], header[3]
        if unpacked < 0 or packed < 0 or kind not in (_DATA, _DICTIONARY):
            raise ValueError("a page that harness doesn't write")
        of_kind = header[5 if kind == _DATA else 7]
        if of_kind[2] not in _ENCODINGS or of_kind[1] < 0:
            raise ValueError("an encoding that harness doesn't write")
        pages += 1
        values += of_kind[1] if kind == _DATA else 0
        unpacked_bytes += unpacked
        at += length + packed
        if unpacked_bytes > most_bytes or pages > SPARE_PAGES + column.num_values // FEWEST_VALUES:
            raise ValueError("pages that unpack to more than their values")
    if values != column.num_values:
        raise ValueError("pages with other values than the metadata says")


def _header(stream: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    """A page's header, by the ids of its fields, and its length."""
    stream.seek(at)
    reader = _Compact(stream.read(MOST_HEADER_BYTES))
    return reader.struct(0), reader.at


class _Compact:
    """Thrift's compact protocol, as far as headers have it. Raises IndexError where the bytes end early."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > MOST_NESTED:
            raise ValueError("nested too deep")
        fields: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            fields[field] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # true, false
            return kind == 1
        if kind in (4, 5, 6):  # i16, i32, i64
            return self._signed()
        if kind == 8:  # binary, of which only the length matters
            self._skip(self._varint())
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError("a field that no page's header has")

    def _byte(self) -> int:
        value = self._content[self.at]
        self.at += 1
        return value

    def _skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self._content):
            raise IndexError("the header ends too early")

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number too long")

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
