"""A model that a server has by itself: harness exports nothing of it, and claims no proof."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from harness.schema.frozen import Frozen
from harness.schema.tensors import AnyDatatype

TOLERANCE = 1e-3
"""Of an answer against another to the same payload: nothing says how exactly a model of others computes."""


def _name(text: str) -> str:
    if "/" in text or not text.isprintable():
        raise ValueError(f"{text[:60]!r} can't be a model's name in Triton")
    return text


class Served(Frozen):
    """`model: {served: NAME}` of a scenario: a model as a server has it."""

    served: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_name)]
    """Its name there."""
    version: Annotated[int, Field(ge=1, lt=1 << 63)] | None = None
    """Left out: whichever the server chooses, by the model's version policy the newest."""

    def __str__(self) -> str:
        return self.served if self.version is None else f"{self.served} version {self.version}"


class ServedTensor(Frozen):
    """An input or output as the server describes it."""

    name: str
    datatype: AnyDatatype
    dims: tuple[int, ...]
    """-1 where each request says the size. The batch isn't among them where the model has one."""
    optional: bool = False
    """Requests may leave it out."""
    ragged: bool = False
    """Requests of different sizes go into one batch (`allow_ragged_batch`)."""
    shape_tensor: bool = False
    """Its values are a shape (`is_shape_tensor`, TensorRT): a batch has one of it, with one value more than
    `dims` says, the first, which is the batch (Triton's "Model Configuration", "Shape Tensors")."""


class ServedModel(Frozen):
    """What can be known of such a model from outside."""

    kind: Literal["served"] = "served"
    name: str
    version: int | None
    """The one that was asked for; None for the server's own choice."""
    versions: tuple[str, ...]
    """Those that were loaded."""
    source: str
    """Where it came from, in words a reader understands."""
    platform: str
    """What Triton calls the platform or the backend that computes it: "onnxruntime_onnx", "ensemble"."""
    inputs: tuple[ServedTensor, ...]
    outputs: tuple[ServedTensor, ...]
    max_batch: int
    """`max_batch_size`: 0 where the first axis of its tensors is no batch."""
    features: tuple[str, ...] = ()
    """What its owner configured that decides how it behaves under load, a phrase for each."""
    decoupled: bool = False
    """It may answer a request any number of times."""
    composing: tuple[str, ...] = ()
    """The models of an ensemble, in the order of its steps, those of ensembles in it among them."""
    config: dict[str, Any]
    """Its whole configuration as loaded, in protobuf's JSON form."""
    files: dict[str, str] | None = None
    """SHA-256 of each of its files, by path in its folder; None where they can't be seen."""
    config_sha256: str
    beside: tuple[ServedModel, ...] = ()
    """Other models that request classes ask."""
    sha256: str
    """What tells it from another: of its files, where they can be seen; else of its configuration, but for
    where its instances run. Of those beside it, too."""
    dtype: None = None
    parity: None = None
    note: str | None = None

    @property
    def asked(self) -> tuple[ServedModel, ...]:
        """All that request classes ask, this one first."""
        return (self, *self.beside)

    def asked_by(self, other: Served | None) -> ServedModel:
        """The one that a request class asks, which names another or none."""
        if other is None:
            return self
        return next(b for b in self.beside if (b.name, b.version) == (other.served, other.version))

    @property
    def in_sequences(self) -> bool:
        """Whether its requests are steps of sequences."""
        return "sequence_batching" in self.config

    @property
    def asks_others(self) -> bool:
        """Whether others work for it, or may: a Python model can ask any that the server has."""
        return bool(self.composing) or self.config.get("backend") == "python"

    @property
    def batching(self) -> bool:
        return self.max_batch > 0

    @property
    def alone(self) -> str | None:
        """Why each request is computed alone; None where Triton may make one batch of several."""
        return None if self.batching else "it is served with max_batch_size 0"

    @property
    def tolerance(self) -> float:
        """The largest error, over the first answer's largest value, of another answer to the same payload."""
        return TOLERANCE
