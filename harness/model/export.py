"""A model, exported and proven, or taken from the cache where that was done before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from pydantic import ValidationError

from harness.atomic import new_folder, replacing_path
from harness.cache import cache_dir, file_sha256, lock
from harness.model.factory import Factory
from harness.model.onnx_description import beside
from harness.model.onnx_hash import onnx_sha256
from harness.model.parity import (
    FP32_FILE,
    TORCH,
    CannotBatch,
    OneAtATime,
    Proof,
    Reference,
    Subject,
    prove,
)
from harness.model.ready import ReadyExport, remember
from harness.model.resolve import resolve
from harness.model.runtime import Refused, Session, TooNew
from harness.model.shapes import Sizes, asked_shapes, proving_feeds, proving_shapes
from harness.model.signature import BATCH, Input, Signature, TorchModel, servable
from harness.model.sources import AnySource, OnnxFile
from harness.schema.errors import HarnessError, InputError
from harness.schema.model import ModelArtifact
from harness.schema.scenario import Dtype
from harness.schema.tensors import Datatype, TensorSpec

Progress = Callable[[str], None]

_RECORD = "artifact.json"

_EXPORTERS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime-gpu", "onnxruntime")
_RECIPE = (
    "comparison.py",
    "configured.py",
    "external_data.py",
    "huggingface.py",
    "loaded_weights.py",
    "modality.py",
    "modules.py",
    "onnx_axes.py",
    "onnx_description.py",
    "onnx_file.py",
    "output_axes.py",
    "parity.py",
    "shapes.py",
    "torch_export.py",
    "torch_module.py",
    "export.py",
)
_HALF_RECIPE = (
    "comparison.py",
    "half.py",
    "onnx_file.py",
    "output_axes.py",
    "parity.py",
    "runtime.py",
    "shapes.py",
    "export.py",
)


def export(
    model: str,
    *,
    base_dir: Path,
    progress: Progress,
    dtype: Dtype | None = None,
    asked: Sequence[Mapping[str, int]] = (),
) -> ModelArtifact:
    """The verified ONNX file of `model` (see `harness.model.resolve.resolve`), made at most once.

    `dtype`: None leaves the model as it is. "fp32" is the same where its weights are FP32, and converts a
    torch module whose weights aren't. "fp16" is the FP32 file converted, and proven again against what the
    FP32 file was proven against; a file with FP16 weights is taken as it is. A model that was converted has
    the dtype after its name. `asked`: sizes of the dynamic axes ("batch" included) that will be sent, which
    are proven too.

    It is kept under `cache_dir()/models`, in a folder whose name holds a hash of the source's content, of
    the exporters' versions and of harness's own export code. Raises InputError when the model can't be
    exported, converted or served, HarnessError when the export isn't the same function as its source.
    """
    source = resolve(model, base_dir)
    if isinstance(source, ReadyExport):
        return source.artifact(dtype)
    return export_source(source, progress, dtype, asked)


def export_source(
    source: AnySource, progress: Progress, dtype: Dtype | None = None, asked: Sequence[Mapping[str, int]] = ()
) -> ModelArtifact:
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
        lambda file: _proven(source, file, asked, progress),
    )
    wanted = asked_shapes(_as_proven(source, exported), asked)
    exported = _proven_at(wanted, exported, progress, lambda: _subject(source, exported))
    exported = exported.model_copy(
        update={"name": source.name, "source": source.words, "note": _note(source, exported)}
    )
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
    with TemporaryDirectory() as scratch:
        subject = partial(_half_subject, source, exported, converted.path, Path(scratch))
        converted = _proven_at(wanted, converted, progress, subject)
    return converted.model_copy(update={**named, "note": _note(source, converted)})


def _proven_at(
    wanted: Sequence[Sizes], artifact: ModelArtifact, progress: Progress, subject: Callable[[], Subject]
) -> ModelArtifact:
    """The artifact, proven at the sizes that are wanted too, which is kept with it."""
    parity = artifact.parity
    known = [case.axes for case in parity.cases]
    missing = [sizes for sizes in wanted if sizes not in known]
    if not missing:
        return artifact
    progress(f"comparing {artifact.name} at {len(missing)} more of the sizes that are asked for")
    more = prove(subject(), shapes=(), asked=missing).parity
    remarks = dict.fromkeys((*parity.remarks, *more.remarks))
    both = {"cases": (*parity.cases, *more.cases), "remarks": tuple(remarks)}
    artifact = artifact.model_copy(update={"parity": parity.model_copy(update=both)})
    with suppress(OSError), replacing_path(artifact.path.with_name(_RECORD)) as record:
        record.write_text(artifact.model_dump_json(indent=2), encoding="utf-8")
    return artifact


def _subject(source: AnySource, artifact: ModelArtifact) -> Subject:
    reference = None if isinstance(source, OnnxFile) else _reference(source.load(), source.name)
    signature = _as_proven(source, artifact)
    return Subject(
        source.name,
        Session(artifact.path),
        signature,
        reference,
        described_in=_described_in(source),
    )


def _described_in(source: AnySource) -> str | None:
    return beside(source.place.path) if isinstance(source, OnnxFile) else None


def _as_proven(source: AnySource, artifact: ModelArtifact) -> Signature:
    """What the source takes, with what its proof found of the batch."""
    known = source.signature()
    axes = {tensor.name: tensor.axes for tensor in artifact.inputs}
    inputs = tuple(replace(tensor, axes=axes[tensor.name]) for tensor in known.inputs)
    return replace(known, inputs=inputs, alone=artifact.alone)


def _note(source: AnySource, artifact: ModelArtifact) -> str | None:
    """What is known of the source beforehand, and what the proof saw."""
    alone = f"each request is computed alone (max_batch_size: 0): {artifact.alone}"
    told = (source.note, None if artifact.batching else alone, *artifact.parity.remarks)
    return "; ".join(filter(None, told)) or None


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
        (draft / _RECORD).write_text(artifact.model_dump_json(indent=2), encoding="utf-8")
    return artifact


def _proven(
    source: AnySource, file: Path, asked: Sequence[Mapping[str, int]], progress: Progress
) -> ModelArtifact:
    """Write the model to `file` with clean axis names, and prove it."""
    from harness.model import onnx_file  # imports onnx

    signature = source.signature()
    reference: Reference | None = None
    weights_in = None
    if isinstance(source, OnnxFile):
        progress(f"reading {source.name}")
        graph = onnx_file.prepared(source.place.get())
        weights_in = source.place.get()
    else:
        progress(f"loading {source.name} in torch")
        torch_model = source.load()
        reference = _reference(torch_model, source.name)
        progress(f"exporting {source.name} to ONNX")
        graph = _graph(torch_model, signature, source.name)
    onnx_file.write(graph, _specs(signature), (), file, weights_in)
    twice = onnx_file.duplicated(graph)
    against = f"with torch on {len(proving_shapes(signature))} shapes" if reference else "rows with batches"
    progress(f"comparing {source.name} {against}")
    subject = Subject(
        source.name,
        _session(file, source, twice),
        signature,
        reference,
        drawn_by=onnx_file.random_operators(graph),
        described_in=_described_in(source),
    )
    proof, signature = _prove(subject, asked)
    for output in proof.outputs:
        if not output.axes:
            onnx_file.give_a_list(graph, output.name)
    inputs = _specs(signature)
    outputs = tuple(output.model_copy(update={"axes": output.axes or (1,)}) for output in proof.outputs)
    onnx_file.write(graph, inputs, outputs, file)
    _session(file, source, twice)
    return ModelArtifact(
        name=source.name,
        kind=source.kind,
        source=source.words,
        onnx_path=str(file),
        sha256=onnx_sha256(file),
        inputs=inputs,
        outputs=outputs,
        parity=proof.parity,
        dtype="fp32" if isinstance(source, Factory) and source.converted else None,
        alone=signature.alone,
    )


def _prove(subject: Subject, asked: Sequence[Mapping[str, int]]) -> tuple[Proof, Signature]:
    """The proof, and what was proven: an ONNX file that can't be batched is proven a request at a time."""
    signature = subject.signature
    try:
        return prove(subject, asked=asked_shapes(signature, asked)), signature
    except CannotBatch as error:
        if subject.reference is not None:
            raise
        signature = replace(signature, alone=f"{error.why}; for batches, {error.remedy}")
        if isinstance(error, OneAtATime):
            signature = replace(signature, inputs=tuple(map(_of_one_row, signature.inputs)))
    return prove(replace(subject, signature=signature), asked=asked_shapes(signature, asked)), signature


def _of_one_row(tensor: Input) -> Input:
    return replace(tensor, axes=tuple(1 if axis == BATCH else axis for axis in tensor.axes))


def _specs(signature: Signature) -> tuple[TensorSpec, ...]:
    # Of what is exported no input is of another type.
    return tuple(
        TensorSpec(name=i.name, datatype=cast(Datatype, i.datatype), axes=i.axes) for i in signature.inputs
    )


def _halved(
    source: AnySource, exported: ModelArtifact, name: str, file: Path, progress: Progress
) -> ModelArtifact:
    """Write the FP32 file to `file` in FP16, and prove it on the same shapes."""
    from harness.model import half, onnx_file  # imports onnx

    progress(f"converting {source.name} to FP16")
    graph = half.converted(onnx_file.read(exported.path, weights=True), source.name)
    onnx_file.write(graph, (), (), file)
    if not isinstance(source, OnnxFile):
        progress(f"loading {source.name} in torch")
    shapes = [case.axes for case in exported.parity.cases]
    against = FP32_FILE if isinstance(source, OnnxFile) else TORCH
    progress(f"comparing {name} with {against} in FP32 on {len(shapes)} shapes")
    with TemporaryDirectory(dir=file.parent) as scratch:
        proof = prove(_half_subject(source, exported, file, Path(scratch)), shapes=shapes)
    proven = {"name": name, "sha256": onnx_sha256(file), "dtype": "fp16", "parity": proof.parity}
    return exported.model_copy(update=proven)


def _half_subject(source: AnySource, exported: ModelArtifact, file: Path, scratch: Path) -> Subject:
    """The FP16 file as a GPU would compute it, and its reference in FP32."""
    from harness.model import half, onnx_file

    graph = onnx_file.read(file, weights=True)
    probabilities = half.probabilities(graph)
    onnx_file.write(half.rounding(graph), (), (), scratch / "rounding.onnx")
    try:
        Session(file)
        session = Session(scratch / "rounding.onnx", as_written=True)
    except Refused as error:
        raise InputError(
            f"{source.name}: ONNX Runtime doesn't load it in FP16 ({error}): leave out `dtype: fp16`"
        ) from error
    if isinstance(source, OnnxFile):
        reference = Reference(FP32_FILE, Session(exported.path).run)
    else:
        reference = _reference(source.load(), source.name)
    return Subject(
        source.name,
        session,
        _as_proven(source, exported),
        reference,
        half=True,
        probabilities=probabilities,
    )


def _other_precision(source: OnnxFile) -> str | None:
    from harness.model import half  # imports onnx

    return half.other_precision(source.place.get())


def _graph(model: TorchModel, signature: Signature, name: str) -> Any:
    from harness.model import torch_export  # imports torch

    return torch_export.to_onnx(model, name, proving_feeds(signature, proving_shapes(signature)[0], seed=0))


def _reference(model: TorchModel, name: str) -> Reference:
    from harness.model import torch_export

    return Reference(TORCH, lambda feeds: torch_export.run(model, feeds, name), model.remarks)


def _session(file: Path, source: AnySource, twice: list[str]) -> Session:
    try:
        return Session(file)
    except TooNew as error:
        raise InputError(
            f"{source.name}: ONNX Runtime doesn't load the ONNX file, for {error}: export it again for that "
            "version, or install a newer onnxruntime (Triton's own has a version too)"
        ) from error
    except Refused as error:
        remedy = "check its operators and types, and that no output has the name of a value inside the model"
        if twice:
            remedy = f"the output {twice[0]!r} has the name of a value inside the model: rename the output"
        elif isinstance(source, Factory) and "bfloat16" in source.weights():
            remedy = "its weights are BF16: set `dtype: fp32` (`--dtype fp32`), which converts them"
        elif "Could not find an implementation" in str(error):
            remedy = "it has that operator for other types or a newer opset: export it again with those"
        raise InputError(
            f"{source.name}: ONNX Runtime doesn't load the ONNX file ({error}): {remedy}"
        ) from error


def _kept(folder: Path) -> ModelArtifact | None:
    """The artifact made before; None when there is none, or when its file isn't what was proven."""
    try:
        record = (folder / _RECORD).read_text(encoding="utf-8")
        artifact = ModelArtifact.model_validate_json(record)
        file = folder / "model.onnx"
        if onnx_sha256(file) != artifact.sha256:
            return None
    except (OSError, ValidationError):
        return None
    return artifact.model_copy(update={"onnx_path": str(file)})


def _still_true(source: AnySource, kept: ModelArtifact) -> bool:
    """A factory's code may call anything, which no hash sees: its module, built anyway, is compared again."""
    if not isinstance(source, Factory):
        return True
    try:
        prove(_subject(source, kept))
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
