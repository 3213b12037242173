"""An export that was made and proven before, which takes neither torch nor onnx to be measured.

It is an ONNX file with its `artifact.json` beside it, as the cache has both, and may be copied to a machine
that only measures. Where onnx isn't installed, a file that was exported into this cache is known, too.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.atomic import write_text
from harness.cache import cache_dir, file_sha256
from harness.model.own_files import has, own_file
from harness.model.signature import Input, Place, Signature, servable
from harness.schema.errors import InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype
from harness.schema.tensors import TensorSpec

RECORD = "artifact.json"
_MOST_BYTES = 4_000_000
_RANGES = {"attention_mask": (1, 2), "token_type_ids": (0, 1)}
"""What the usual text inputs take, low and high (exclusive)."""


@dataclass(frozen=True, slots=True)
class ReadyExport:
    """As a source (harness.model.sources), of which nothing is exported."""

    proven: ModelArtifact

    @property
    def name(self) -> str:
        return self.proven.name

    @property
    def kind(self) -> Literal["torch", "huggingface", "onnx"]:
        return self.proven.kind

    @property
    def words(self) -> str:
        return self.proven.source

    @property
    def note(self) -> str | None:
        return self.proven.note

    def signature(self) -> Signature:
        beside = self.proven.path.with_name("tokenizer.json")
        return Signature(
            tuple(_input(spec) for spec in self.proven.inputs),
            tokenizer=Place(beside) if beside.is_file() else None,
        )

    def content(self) -> str:
        return self.proven.sha256

    def artifact(self, dtype: Dtype | None) -> ModelArtifact:
        """The export. Raises InputError where it should compute in another dtype than it does."""
        if dtype not in (None, self.proven.dtype or "fp32"):
            raise InputError(
                f"{self.proven.onnx_path} is an export already, and not in {dtype}: leave out `dtype`, or "
                "name what it was exported from"
            )
        return self.proven


def ready(file: Path) -> ReadyExport | None:
    """The export that an ONNX file is, or that was made of it; None where it has to be made.

    Raises InputError where the record beside it is of another file.
    """
    if has(file.parent, RECORD) and (proven := _read(own_file(file.parent, RECORD))) is not None:
        if file_sha256(file) != proven.sha256:
            raise InputError(
                f"{file.parent / RECORD} is the proof of another file than {file.name}: copy both from where "
                "they were exported, or remove it to have the file proven here"
            )
        return ReadyExport(proven.model_copy(update={"onnx_path": str(file)}))
    if importlib.util.find_spec("onnx") is not None:
        return None  # what it has beside it can be read, and is looked at
    made = _read(_of_content(file))
    if made is None or not made.path.is_file() or file_sha256(made.path) != made.sha256:
        return None
    return ReadyExport(made.model_copy(update={"name": servable(file.stem)}))


def remember(file: Path, exported: ModelArtifact) -> None:
    """Keep what was made of an ONNX file that has all of its weights in it."""
    kept = _of_content(file)
    if _read(kept) != exported:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, exported.model_dump_json())


def _of_content(file: Path) -> Path:
    return cache_dir() / "models" / "of-files" / f"{file_sha256(file)}.json"


def _read(record: Path) -> ModelArtifact | None:
    try:
        with record.open("rb") as stream:
            return ModelArtifact.model_validate_json(stream.read(_MOST_BYTES))
    except (OSError, ValueError):
        return None  # there is none, or it is something else


def _input(spec: TensorSpec) -> Input:
    return Input(spec.name, spec.datatype, spec.axes, *_RANGES.get(spec.name, (None, None)))
