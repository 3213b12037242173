"""What stands behind the word that a user wrote after `model:`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.model import huggingface
from harness.model.signature import Place, Signature, TorchModel


class Source(Protocol):
    """One model before its export."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["torch", "huggingface", "onnx"]: ...
    @property
    def words(self) -> str:
        """Where it comes from, for a reader."""

    @property
    def note(self) -> str | None: ...
    def signature(self) -> Signature:
        """What it takes; cheap but for a factory, which is called."""

    def content(self) -> str:
        """A hash of everything that decides which function it computes."""


class TorchSource(Source, Protocol):
    """A source that is a torch module, to be exported."""

    def load(self) -> TorchModel: ...


@dataclass(frozen=True, slots=True)
class HuggingFaceFolder:
    """A folder as `save_pretrained` writes it: config.json, safetensors and perhaps a tokenizer."""

    name: str
    place: Place
    words: str
    known: Signature | None = None
    """Given where it is known without looking into the folder."""
    note: str | None = None
    kind: Literal["huggingface"] = "huggingface"

    def signature(self) -> Signature:
        return self.known or huggingface.signature(self.place.get())

    def content(self) -> str:
        if self.place.wheel:
            return _digest(self.place.wheel.sha256, str(self.place.path))
        return _digest(*huggingface.content(self.place.get()))

    def load(self) -> TorchModel:
        from harness.model import modules  # imports torch

        return modules.from_folder(self.place.get())


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A ready ONNX file: nothing is exported, and nothing can be compared with its source."""

    name: str
    place: Place
    words: str
    known: Signature | None = None
    note: str | None = None
    kind: Literal["onnx"] = "onnx"

    def signature(self) -> Signature:
        if self.known:
            return self.known
        from harness.model import onnx_file  # imports onnx

        return onnx_file.signature(self.place.get())

    def content(self) -> str:
        if self.place.wheel:
            return _digest(self.place.wheel.sha256, str(self.place.path))
        from harness.model import onnx_file

        return _digest(*onnx_file.content(self.place.get()))

    @property
    def whole(self) -> bool:
        """Whether it is a file of the user's that holds all of its weights."""
        from harness.model import onnx_file

        return self.place.wheel is None and len(onnx_file.content(self.place.get())) == 1


AnySource = OnnxFile | TorchSource


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
