"""What stands behind the word that a user wrote after `model:`."""

from __future__ import annotations

import difflib
import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from harness.model import huggingface
from harness.model.signature import Place, Signature, TorchModel
from harness.schema.errors import InputError

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


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


AnySource = OnnxFile | TorchSource


def resolve(model: str, base_dir: Path) -> AnySource:
    """The source named `model`: of the catalog, a path from `base_dir`, or `package.module:factory`.

    Raises InputError for what is none of them, with the nearest name of the catalog.
    """
    from harness.model.catalog import CATALOG
    from harness.model.factory import Factory

    if model in CATALOG:
        return CATALOG[model]
    if FACTORY.fullmatch(model):
        return Factory(model, base_dir)
    try:
        path = (base_dir / model).resolve()
        found = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"model {model[:80]!r} is not a path: {error}; write a name or a path") from error
    if path.suffix in PICKLES:
        raise InputError(
            f"{model} is a pickle, and loading one can run any code: save the model as safetensors "
            "(`save_pretrained(folder)`) and name that folder"
        )
    if not found:
        near = difflib.get_close_matches(model, CATALOG, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"name one of {', '.join(CATALOG)},"
        also = " (an .onnx file, a Hugging Face folder or `package.module:factory` also works)"
        raise InputError(f"there is no model {model!r}: {hint}{also}")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem if path.is_file() else path.name).strip("-.") or "model"
    if path.is_dir():
        huggingface.check(path)
        return HuggingFaceFolder(name, Place(path), f"Hugging Face folder {path.name}")
    if path.suffix == ".onnx":
        return OnnxFile(name, Place(path), f"ONNX file {path.name}")
    raise InputError(
        f"{model} is not a model harness can read: give an .onnx file, or a Hugging Face folder with "
        "config.json and model.safetensors"
    )


@functools.lru_cache(maxsize=32)
def signature_of(model: str, base_dir: Path) -> Signature:
    """What `model` takes, remembered within the process: a run asks for every point and request class."""
    return resolve(model, base_dir).signature()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
