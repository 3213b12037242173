"""NumPy's arrays as Arrow's, and back, by their buffers.

Arrow's own conversions import pandas the first time, which takes a quarter of a second of each command, and
nobody needs it before he asks for a data frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def arrow(values: npt.NDArray[Any], absent: npt.NDArray[np.bool_] | None = None) -> Any:
    """An Arrow array of numbers, null where `absent`; it keeps `values` alive."""
    valid = None
    if absent is not None and absent.any():
        valid = pa.py_buffer(np.packbits(~absent, bitorder="little"))
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [valid, data])


def strings(texts: Sequence[str]) -> Any:
    """An Arrow array of strings."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    )


def present(column: Any) -> npt.NDArray[np.bool_]:
    """Where an Arrow array isn't null."""
    valid = column.buffers()[0]
    if valid is None or not column.null_count:
        return np.ones(len(column), dtype=bool)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
    there: npt.NDArray[np.bool_] = bits[column.offset : column.offset + len(column)].astype(bool)
    return there


def numbers(column: Any, filler: int = 0) -> npt.NDArray[Any]:
    """An Arrow array of integers as NumPy's, with `filler` where it is null."""
    values = np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype())
    values = values[column.offset : column.offset + len(column)]
    return np.where(present(column), values, values.dtype.type(filler)) if column.null_count else values
