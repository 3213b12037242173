"""A model that was exported and proven: what the rest of the harness knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.schema.frozen import Frozen
from harness.schema.scenario import Dtype
from harness.schema.served_model import ServedModel
from harness.schema.tensors import TensorSpec


class ParityCase(Frozen):
    """One comparison of the export against its source, on one shape."""

    axes: dict[str, int]
    """Sizes of the dynamic axes in this case, "batch" included."""
    traced: bool
    """True for the shape that the export was traced with; the others prove that it generalizes."""
    max_abs_error: float
    max_rel_error: float
    """Largest absolute error divided by the source's largest absolute value, over all outputs. Of a model
    converted to FP16, the absolute error of an output that a sigmoid or a softmax makes."""


class Parity(Frozen):
    """The proof that an export computes the same function as its source."""

    reference: str
    """What it was compared with: "torch", "the FP32 file" (of a ready file, converted to FP16), or "none: the
    file is the source"."""
    tolerance: float
    """The largest `max_rel_error` that is accepted."""
    cases: tuple[ParityCase, ...]
    remarks: tuple[str, ...] = ()
    """What else the proof saw and a reader should know: values that are no numbers, sizes that don't run."""


class ModelArtifact(Frozen):
    """A verified ONNX file in the cache."""

    name: str
    kind: Literal["torch", "huggingface", "onnx"]
    source: str
    """Where it came from, in words a reader understands."""
    onnx_path: str
    sha256: str
    """The ONNX file's hash."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parity: Parity
    dtype: Dtype | None = None
    """What it was converted to; None for the source as it is. A converted model has another `name`."""
    alone: str | None = None
    """Why each request is computed alone, with Triton's `max_batch_size: 0`. None where Triton may make one
    batch of several: the first axis of every tensor is the batch."""
    note: str | None = None
    """A label that follows the model into every result, e.g. "random weights: speed only"."""

    @property
    def path(self) -> Path:
        return Path(self.onnx_path)

    @property
    def tolerance(self) -> float:
        """The largest error, over the first answer's largest value, of another answer to the same payload."""
        return self.parity.tolerance

    @property
    def batching(self) -> bool:
        return self.alone is None

    @property
    def dynamic_axes(self) -> tuple[str, ...]:
        """Every dynamic axis but the batch, once, in the order of the inputs."""
        return tuple(dict.fromkeys(a for i in self.inputs for a in i.dynamic))


Model = Annotated[ModelArtifact | ServedModel, Field(discriminator="kind")]
"""What is measured: an export of ours, or what a server has by itself."""
