"""Tensor descriptions in Triton's vocabulary."""

from __future__ import annotations

from typing import Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from harness.schema.axis_sizes import names
from harness.schema.frozen import Frozen

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"
]
"""What exports take and give: Triton's names as they stand in its inference protocol (config.pbtxt prefixes
them with TYPE_)."""

AnyDatatype = Datatype | Literal["BF16", "BYTES"]
"""All of Triton's. BYTES are strings, TYPE_STRING in config.pbtxt."""

NUMPY: dict[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}

ANY_NUMPY: dict[str, npt.DTypeLike] = NUMPY | {"BF16": ml_dtypes.bfloat16, "BYTES": np.object_}
"""What holds values of each, as tritonclient takes them. NumPy has no BF16 of its own."""

Tensors = dict[str, npt.NDArray[np.generic]]
"""The inputs or outputs of one request, by tensor name; the first axis is the batch."""


class TensorSpec(Frozen):
    """One input or output of a model.

    `axes` has an entry per axis: an int where the size is fixed, a name where it is dynamic, an expression of
    names where it follows from others. Where Triton makes batches the first is the batch, named "batch".
    """

    name: str
    datatype: Datatype
    axes: tuple[int | str, ...]

    @property
    def dims(self) -> tuple[int, ...]:
        """The axes after the first, -1 where dynamic: Triton's `dims` of a model that it batches."""
        return self.shape[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """All axes, -1 where dynamic: Triton's `dims` of a model that it doesn't batch."""
        return tuple(a if isinstance(a, int) else -1 for a in self.axes)

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Names of what a request sizes, but the batch, in order."""
        return tuple(name for axis in self.axes for name in names(axis) if name != "batch")
