"""Thrift's compact protocol, in which a Parquet file says what is in it: only read, only as far as that."""

from __future__ import annotations

from typing import Any

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
"""Kinds of values, as the protocol numbers them."""
_TRUE, _FALSE, _BYTE, _I16, _DOUBLE = 1, 2, 3, 4, 7

MOST_NESTED = 12

Struct = dict[tuple[int, int], Any]
"""Values by the field's id and kind: a field of another kind than is expected is none to other readers."""


class Compact:
    """Reads from `at` on. Raises IndexError where the bytes end early, ValueError for what can't be."""

    def __init__(self, content: bytes) -> None:
        self._content, self.at = content, 0

    def struct(self, depth: int = 0) -> Struct:
        if depth > MOST_NESTED:
            raise ValueError("nested too deep")
        fields: Struct = {}
        seen = set()
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            kind = head & 0x0F
            if field in seen:
                raise ValueError("a field that stands twice")
            seen.add(field)
            fields[field, kind] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, I32, I64):
            return self._signed()
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind == LIST:
            return self._list(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError("a kind of value that Parquet doesn't use")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._varint()
        if size > len(self._content) - self.at or depth > MOST_NESTED:
            raise IndexError("a list longer than the bytes")
        return [self._value(head & 0x0F, depth) for _ in range(size)]

    def _byte(self) -> int:
        value = self._content[self.at]
        self.at += 1
        return value

    def _bytes(self, length: int) -> bytes:
        self.at += length
        if self.at > len(self._content):
            raise IndexError("the bytes end early")
        return self._content[self.at - length : self.at]

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
