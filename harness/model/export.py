"""A model, exported and proven, or taken from the cache where that was done before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.atomic import new_folder
from harness.cache import cache_dir, file_sha256, lock
from harness.model.factory import Factory
from harness.model.parity import FP32_FILE, TORCH, Reference, prove
from harness.model.ready import ReadyExport, remember
from harness.model.resolve import resolve
from harness.model.runtime import Refused, Session
from harness.model.shapes import proving_feeds, proving_shapes
from harness.model.signature import Signature, TorchModel, servable
from harness.model.sources import AnySource, OnnxFile
from harness.schema.errors import HarnessError, InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype
from harness.schema.tensors import Tensors, TensorSpec

Progress = Callable[[str], None]

_EXPORTERS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime")
_RECIPE = (
    "configured.py",
    "huggingface.py",
    "modules.py",
    "onnx_file.py",
    "parity.py",
    "shapes.py",
    "torch_export.py",
    "export.py",
)
_HALF_RECIPE = ("half.py", "onnx_file.py", "parity.py", "runtime.py", "shapes.py", "export.py")


def export(model: str, *, base_dir: Path, progress: Progress, dtype: Dtype | None = None) -> ModelArtifact:
    """The verified ONNX file of `model` (see `harness.model.resolve.resolve`), made at most once.

    `dtype`: None leaves the model as it is. "fp32" is the same where its weights are FP32, and converts a
    torch module whose weights aren't. "fp16" is the FP32 file converted, and proven again against what the
    FP32 file was proven against; a file with FP16 weights is taken as it is. A model that was converted has
    the dtype after its name.

    It is kept under `cache_dir()/models`, in a folder whose name holds a hash of the source's content, of
    the exporters' versions and of harness's own export code. Raises InputError when the model can't be
    exported, converted or served, HarnessError when the export isn't the same function as its source.
    """
    source = resolve(model, base_dir)
    if isinstance(source, ReadyExport):
        return source.artifact(dtype)
    return export_source(source, progress, dtype)


def export_source(source: AnySource, progress: Progress, dtype: Dtype | None = None) -> ModelArtifact:
    """As `export`, for a source that is already known."""
    name = source.name
    if dtype is not None and isinstance(source, OnnxFile) and (kind := _other_precision(source)):
        if kind.lower() != dtype:
            raise InputError(
                f"{name} has {kind} weights, and harness converts FP32: leave out `dtype: {dtype}`, or "
                "export the model again in FP32"
            )
        dtype = None
    if dtype is not None and isinstance(source, Factory):
        source = source.in_fp32()
    exported = _once(
        source.name,
        _key(source.content(), _RECIPE),
        lambda kept: _still_true(source, kept),
        lambda file: _proven(source, file, progress),
    )
    exported = exported.model_copy(update={"name": source.name, "source": source.words, "note": source.note})
    if isinstance(source, OnnxFile) and source.whole:
        remember(source.place.get(), exported)
    if dtype != "fp16":
        return exported
    named = {"name": servable(f"{name}-fp16"), "source": f"{source.words}, converted to FP16"}
    converted = _once(
        named["name"],
        _key(exported.sha256, _HALF_RECIPE),
        lambda _: True,
        lambda file: _halved(source, exported, named["name"], file, progress),
    )
    return converted.model_copy(update={**named, "note": source.note})


def _once(
    name: str, key: str, still_true: Callable[[ModelArtifact], bool], made: Callable[[Path], ModelArtifact]
) -> ModelArtifact:
    """The artifact of this key in the cache, or the one that `made` makes of the path it gets."""
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    folder = cache_dir() / "models" / f"{slug}-{key}"
    with lock(f"model-{folder.name}"):
        kept = _kept(folder)
        if kept is not None and still_true(kept):
            return kept
        try:
            return _made(folder, made)
        except OSError as error:
            raise HarnessError(
                f"the export of {name} can't be written to {folder.parent} ({error.strerror}): make "
                "room there, or set HARNESS_CACHE to a folder on another disk"
            ) from error


def _made(folder: Path, made: Callable[[Path], ModelArtifact]) -> ModelArtifact:
    with new_folder(folder) as draft:
        artifact = made(draft / "model.onnx")
        artifact = artifact.model_copy(update={"onnx_path": str(folder / "model.onnx")})
        (draft / "artifact.json").write_text(artifact.model_dump_json(indent=2), encoding="utf-8")
    return artifact


def _proven(source: AnySource, file: Path, progress: Progress) -> ModelArtifact:
    """Write the model to `file` with clean axis names, and prove it."""
    from harness.model import onnx_file  # imports onnx

    signature = source.signature()
    inputs = tuple(TensorSpec(name=i.name, datatype=i.datatype, axes=i.axes) for i in signature.inputs)
    reference: Reference | None = None
    if isinstance(source, OnnxFile):
        progress(f"reading {source.name}")
        graph = onnx_file.read(source.place.get(), weights=True)
    else:
        progress(f"loading {source.name} in torch")
        torch_model = source.load()
        reference = _reference(torch_model, source.name)
        progress(f"exporting {source.name} to ONNX")
        graph = _graph(torch_model, signature, source.name)
    onnx_file.write(graph, inputs, (), file)
    twice = onnx_file.duplicated(graph)
    against = f"with torch on {len(proving_shapes(signature))} shapes" if reference else "rows with batches"
    progress(f"comparing {source.name} {against}")
    proof = prove(_session(file, source.name, twice), signature, reference, source.name)
    onnx_file.write(graph, inputs, proof.outputs, file)
    _session(file, source.name, twice)
    return ModelArtifact(
        name=source.name,
        kind=source.kind,
        source=source.words,
        onnx_path=str(file),
        sha256=file_sha256(file),
        inputs=inputs,
        outputs=proof.outputs,
        parity=proof.parity,
        dtype="fp32" if isinstance(source, Factory) and source.converted else None,
        note=source.note,
    )


def _halved(
    source: AnySource, exported: ModelArtifact, name: str, file: Path, progress: Progress
) -> ModelArtifact:
    """Write the FP32 file to `file` in FP16, and prove it on the same shapes."""
    from harness.model import half, onnx_file  # imports onnx

    progress(f"converting {source.name} to FP16")
    graph = half.converted(onnx_file.read(exported.path, weights=True), source.name)
    onnx_file.write(graph, (), (), file)
    probabilities = half.probabilities(graph)
    if isinstance(source, OnnxFile):
        reference = Reference(FP32_FILE, Session(exported.path).run)
    else:
        progress(f"loading {source.name} in torch")
        reference = _reference(source.load(), source.name)
    shapes = [case.axes for case in exported.parity.cases]
    progress(f"comparing {name} with {reference.words} in FP32 on {len(shapes)} shapes")
    scratch = file.with_name("rounding.onnx")
    onnx_file.write(half.rounding(graph), (), (), scratch)
    try:
        Session(file)
        session = Session(scratch, as_written=True)
    except Refused as error:
        raise InputError(
            f"{source.name}: ONNX Runtime doesn't load it in FP16 ({error}): leave out `dtype: fp16`"
        ) from error
    scratch.unlink()
    proof = prove(
        session,
        source.signature(),
        reference,
        source.name,
        shapes=shapes,
        half=True,
        probabilities=probabilities,
    )
    proven = {"name": name, "sha256": file_sha256(file), "dtype": "fp16", "parity": proof.parity}
    return exported.model_copy(update=proven)


def _other_precision(source: OnnxFile) -> str | None:
    from harness.model import half  # imports onnx

    return half.other_precision(source.place.get())


def _graph(model: TorchModel, signature: Signature, name: str) -> Any:
    from harness.model import torch_export  # imports torch

    return torch_export.to_onnx(model, name, proving_feeds(signature, proving_shapes(signature)[0], seed=0))


def _reference(model: TorchModel, name: str) -> Reference:
    from harness.model import torch_export

    def run(feeds: Tensors) -> Tensors:
        made = torch_export.run(model, feeds, name)
        return dict(zip(torch_export.output_names(model, made), made, strict=True))

    return Reference(TORCH, run)


def _session(file: Path, name: str, twice: list[str]) -> Session:
    try:
        return Session(file)
    except Refused as error:
        remedy = (
            f"the output {twice[0]!r} has the name of a value inside the model: rename the output"
            if twice
            else "check its operators and types, and that no output has the name of a value inside the model"
        )
        raise InputError(f"{name}: ONNX Runtime doesn't load the ONNX file ({error}): {remedy}") from error


def _kept(folder: Path) -> ModelArtifact | None:
    """The artifact made before; None when there is none, or when its file isn't what was proven."""
    try:
        record = (folder / "artifact.json").read_text(encoding="utf-8")
        artifact = ModelArtifact.model_validate_json(record)
        file = folder / "model.onnx"
        if file_sha256(file) != artifact.sha256:
            return None
    except (OSError, ValidationError):
        return None
    return artifact.model_copy(update={"onnx_path": str(file)})


def _still_true(source: AnySource, kept: ModelArtifact) -> bool:
    """A factory's code may call anything, which no hash sees: its module, built anyway, is compared again."""
    if not isinstance(source, Factory):
        return True
    try:
        prove(Session(kept.path), source.signature(), _reference(source.load(), source.name), source.name)
    except (HarnessError, Refused):
        return False
    return True


def _key(content: str, recipe: tuple[str, ...]) -> str:
    """Sixteen digits of a hash over a source's content and all that makes an ONNX file of it."""
    here = Path(__file__).parent
    parts = [content, *(f"{n} {_version(n)}" for n in _EXPORTERS)]
    parts += [file_sha256(here / name) for name in recipe]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
