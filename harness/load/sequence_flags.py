"""What tells a request from the next of its sequence: the id, and whether it is the first or the last.

A request is prepared once, as a step of a sequence that nobody has, and the three are written over in a copy
of it before it is sent. So they have the same size in all requests: ids have 16 digits in JSON and 8 bytes as
a varint of protobuf, and `true` in JSON has a blank behind it (Triton's "Sequence Extension"; protobuf's
"Encoding").
"""

from __future__ import annotations

from typing import NamedTuple

from harness.schema.scenario import Protocol

FIRST_ID, END_ID = 10**15, 10**16
"""Ids are from the first to under the second."""
NOBODYS = FIRST_ID
"""The id of a request as it is prepared."""

_DIGITS = len(str(FIRST_ID))
_LOOKED_AT = 64 * 1024
"""The flags stand before the tensors."""


class Places(NamedTuple):
    """Where in a prepared request what stands."""

    json: bool
    id_at: int
    start_at: int
    end_at: int


def parameters() -> dict[str, int | bool]:
    """Of a request as it is prepared."""
    return {"sequence_id": NOBODYS, "sequence_start": True, "sequence_end": True}


def widened(json_text: bytes) -> bytes:
    """The JSON of a request, with room for `false` where it says `true`."""
    for name in (b'"sequence_start":', b'"sequence_end":'):
        json_text = json_text.replace(name + b"true", name + b"true ", 1)
    return json_text


def places(protocol: Protocol, prepared: bytes | memoryview) -> Places:
    """Where they are. Raises ValueError in a request that is no step."""
    head = bytes(memoryview(prepared)[:_LOOKED_AT])
    if protocol == "http":

        def after(name: bytes) -> int:
            return head.index(b'"' + name + b'":') + len(name) + 3

        return Places(True, after(b"sequence_id"), after(b"sequence_start"), after(b"sequence_end"))

    def value_of(name: bytes, field: bytes) -> int:
        """A map's entry: the key, then the value, a message with one field."""
        at = head.index(name + b"\x12") + len(name) + 2
        if head[at : at + 1] != field:
            raise ValueError(f"{name.decode()} has another type")
        return at + 1

    return Places(
        False,
        value_of(b"sequence_id", b"\x10"),
        value_of(b"sequence_start", b"\x08"),
        value_of(b"sequence_end", b"\x08"),
    )


def as_step(
    prepared: bytes | memoryview, where: Places, sequence_id: int, *, first: bool, last: bool
) -> bytearray:
    """The request as a step of this sequence."""
    made = bytearray(prepared)
    if where.json:
        made[where.id_at : where.id_at + _DIGITS] = b"%d" % sequence_id
        for at, flag in ((where.start_at, first), (where.end_at, last)):
            made[at : at + 5] = b"true " if flag else b"false"
    else:
        made[where.id_at : where.id_at + 8] = _varint(sequence_id)
        made[where.start_at], made[where.end_at] = first, last
    return made


def _varint(number: int) -> bytes:
    """Of 8 bytes."""
    parts = [(number >> (7 * place)) & 0x7F for place in range(8)]
    return bytes([*(part | 0x80 for part in parts[:-1]), parts[-1]])
