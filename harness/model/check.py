"""Does a request class fit a model? Answered before any export, for `--dry-run` and for a clear refusal."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from harness.model.catalog import CATALOG
from harness.model.factory import Factory
from harness.model.files import user_files
from harness.model.resolve import FACTORY, resolve, signature_of
from harness.model.signature import Signature
from harness.schema.errors import InputError
from harness.schema.faults import meant, short
from harness.schema.model import ModelArtifact
from harness.schema.point import PointClass
from harness.schema.scenario import PayloadSource, Scenario


def inputs_of(model: str, *, base_dir: Path) -> Signature:
    """What `model` takes, with the valid sizes of its axes; nothing is exported.

    Cheap for catalog models, Hugging Face folders and ONNX files; a factory is called.
    """
    return signature_of(model, base_dir)


def runs_code(model: str) -> bool:
    """Whether it takes code of the user's to know what `model` is."""
    return model not in CATALOG and FACTORY.fullmatch(model) is not None


def file_to_run(model: str, *, base_dir: Path) -> Path | None:
    """The file of the user's that is executed when `model` is first asked for; None where there is none, or
    it was executed before."""
    source = resolve(model, base_dir) if runs_code(model) else None
    return source.file_to_run() if isinstance(source, Factory) else None


def check_classes(model: str, classes: Sequence[PointClass], *, base_dir: Path) -> None:
    """Raise InputError for the first class that doesn't give exactly the model's axes in a valid size, or
    whose payload the model can't take or can't be found."""
    signature = inputs_of(model, base_dir=base_dir)
    for request in classes:
        check_axes(model, signature, request)
        payload_kind(model, signature, request)
        if request.folder is not None:
            user_files(base_dir, request.folder, request.name)


def check_axes(model: str, signature: Signature, request: PointClass) -> None:
    if request.batch > 1 and not signature.sizes_batch:
        raise InputError(
            f"request class {request.name!r} has batch {request.batch}, and {model} takes one inference a "
            f"request ({signature.alone}): leave `batch` out"
        )
    wanted = signature.dynamic
    listed = ", ".join(wanted) or "none"
    for axis in request.axes:
        if axis not in wanted:
            near = difflib.get_close_matches(axis, wanted, n=1, cutoff=0.0)
            hint = f"did you mean {near[0]!r}?" if near else "remove it"
            raise InputError(
                f"request class {request.name!r} gives {axis!r}, which is no dynamic axis of {model} "
                f"(it has {listed}): {hint}"
            )
    for axis in wanted:
        limits = signature.axis(axis)
        if axis not in request.axes:
            raise InputError(
                f"request class {request.name!r} doesn't give {axis!r}, which {model} needs: "
                f"write for example `{axis}: {limits.nearest(128)}`"
            )
        size = request.axes[axis]
        if not limits.allows(size):
            raise InputError(
                f"request class {request.name!r} has {axis}: {size}, and {model} takes {limits.words}: "
                f"the nearest is {limits.nearest(size)}"
            )


def check_batches(scenario: Scenario, model: ModelArtifact) -> None:
    """Raise InputError where the scenario asks for batches of Triton's, and the model has none."""
    if model.batching:
        return
    server = scenario.server
    # Requests with many rows of their own need a max_batch that is as large, by the scenario's own rules.
    rows = any(request.batch != 1 for request in scenario.requests)
    asked = {
        "max_batch": server.max_batch,
        "queue_delay_us": server.queue_delay_us,
        "preferred_batch": server.preferred_batch,
    }
    for key, value in asked.items():
        if value not in (None, 0, 1) and not (key == "max_batch" and rows and isinstance(value, int)):
            raise InputError(
                f"server.{key} asks Triton for batches, and {scenario.model} has none "
                f"({model.alone}): leave server.{key} out"
            )


def payload_kind(model: str, signature: Signature, request: PointClass) -> PayloadSource:
    """The class's payload, or what suits the model: its text, its bytes, else random values.

    Raises InputError where the model can't take it.
    """
    suits = suited_payload(signature)
    kind = request.payload or suits
    said = f"request class {request.name!r} has payload {kind!r}"
    if kind == "text" and not takes_text(signature):
        raise InputError(
            f"{said}, and {model} has no tokenizer.json or takes more than token ids and their mask: "
            f"write `payload: {suits}`"
        )
    if kind == "bytes" and not takes_bytes(signature):
        raise InputError(f"{said}, and {model} doesn't take bytes: write `payload: {suits}`")
    if kind == "random" and request.folder is not None:
        raise InputError(
            f"request class {request.name!r} has a folder, and {model} takes random values: remove `folder`, "
            "or name the `payload` that its files are"
        )
    _check_ranges(model, signature, request, kind)
    return kind


def _check_ranges(model: str, signature: Signature, request: PointClass, kind: PayloadSource) -> None:
    """Every integer that is made up has a range, and nothing has two."""
    said, known = f"request class {request.name!r}", {i.name: i.low is not None for i in signature.inputs}
    ranges = request.ranges or {}
    if request.low is not None and (kind != "random" or all(known.values())):
        raise InputError(
            f"{said} has `low` and `high`, and harness knows the valid values of {model} for payload "
            f"{kind!r}: remove them"
        )
    for name in ranges:
        if name not in known:
            near = meant(name, known)
            raise InputError(f"{said} has a range of {short(name)!r}, which is no input of {model}{near}")
        if known[name] or kind != "random":
            raise InputError(
                f"{said} has a range of {name!r}, and harness knows the valid values of {model} there for "
                f"payload {kind!r}: remove it"
            )
    unknown = [i for i in signature.inputs if i.low is None and "INT" in i.datatype and i.name not in ranges]
    if kind == "random" and unknown and request.low is None:
        example = f"`ranges: {{{unknown[0].name}: {{low: 0, high: 100}}}}`"
        raise InputError(
            f"{said}: input {unknown[0].name!r} of {model} takes integers ({unknown[0].datatype}) and "
            f"harness doesn't know which are valid: give `low` and `high`, or {example} for this input alone"
        )


def suited_payload(signature: Signature) -> PayloadSource:
    """What a class without `payload` gets."""
    return "text" if takes_text(signature) else "bytes" if signature.preparation else "random"


def takes_text(signature: Signature) -> bool:
    """A tokenizer is there, and every input can be made of a text's token ids."""
    made = ("input_ids", "attention_mask", "token_type_ids")
    return signature.tokenizer is not None and all(
        i.name in made and len(i.axes) == 2 for i in signature.inputs
    )


def takes_bytes(signature: Signature) -> bool:
    """One integer tensor with one axis after the batch: bytes as they are, or prepared for the model."""
    if signature.preparation is not None:
        return True
    (first, *others) = signature.inputs
    holds_bytes = "INT" in first.datatype and first.datatype != "INT8"
    in_range = first.high is None or first.high >= 256
    return not others and len(first.axes) == 2 and holds_bytes and in_range
