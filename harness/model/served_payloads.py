"""What a request class sends to a model that is served by itself."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.confined import confined
from harness.model.check import check_axes, payload_kind
from harness.model.files import content, user_files
from harness.model.input_data import Step, check_dims, objects, streams
from harness.model.shapes import values
from harness.model.signature import BATCH, Input, Signature
from harness.model.text import OPTICKS
from harness.schema.errors import InputError
from harness.schema.faults import meant, short
from harness.schema.point import PointClass
from harness.schema.served_model import ServedModel, ServedTensor
from harness.schema.tensors import Tensors

STRING_LENGTH = 128
"""Of a string that is made up, where the class says nothing: perf_analyzer's default."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A request, and what must be answered to it, as far as that is known."""

    inputs: Tensors
    answers: Tensors


def check_class(model: ServedModel, request: PointClass, base_dir: Path) -> None:
    """Raise InputError where the class doesn't say, or says wrongly, what the model needs."""
    if request.batch > max(model.max_batch, 1):
        most = f"takes {model.max_batch} at most" if model.batching else "takes one inference a request"
        raise InputError(
            f"request class {request.name!r} has batch {request.batch}, and {model.name} {most} "
            f"(max_batch_size {model.max_batch}): lower the batch"
        )
    _check_sequence(model, request)
    _check_outputs(model, request)
    signature = signature_of(model, request)
    check_axes(model.name, signature, request)
    if request.data is not None:
        _check_nothing_beside(request)
        _steps(model, request, base_dir)
        return
    for tensor in model.inputs:
        if tensor.shape_tensor and not tensor.optional:
            raise InputError(
                f"request class {request.name!r}: the values of input {tensor.name!r} of {model.name} are a "
                "shape, which can't be made up: give `data`"
            )
    if request.payload != "text" or not _strings(signature):
        payload_kind(model.name, signature, request)
    if request.folder is not None:
        user_files(base_dir, request.folder, request.name)


def _check_sequence(model: ServedModel, request: PointClass) -> None:
    if model.in_sequences and request.sequence is None:
        raise InputError(
            f"{model.name} has a sequence batcher, so that each request belongs to a sequence, and request "
            f"class {request.name!r} doesn't say of how many steps: write `sequence: {{length: 20}}`"
        )
    if request.sequence is None:
        return
    if not model.in_sequences:
        raise InputError(
            f"request class {request.name!r} has sequences, and {model.name} has no sequence batcher: leave "
            "`sequence` out"
        )
    if request.batch != 1:
        raise InputError(
            f"request class {request.name!r} has sequences, whose steps have no batch: leave it out"
        )


def _check_outputs(model: ServedModel, request: PointClass) -> None:
    known = [tensor.name for tensor in model.outputs]
    for name in request.outputs or ():
        if name not in known:
            near = meant(name, known)
            raise InputError(
                f"request class {request.name!r} asks for {short(name)!r}, which is no output of "
                f"{model.name}{near}"
            )


def signature_of(model: ServedModel, request: PointClass) -> Signature:
    """What the class's requests have: each input that must be there, and those whose shape it says.

    Raises InputError for a shape that the model can't take, or that nothing says.
    """
    shapes, said = request.shapes or {}, f"request class {request.name!r}"
    known = {tensor.name: tensor for tensor in model.inputs}
    for name in shapes:
        if name not in known:
            near = meant(name, known)
            raise InputError(
                f"{said} has a shape of {short(name)!r}, which is no input of {model.name}{near}"
            )
    inputs = []
    for tensor in model.inputs:
        shape = shapes.get(tensor.name)
        if shape is None and tensor.optional and tensor.name not in (request.ranges or {}):
            continue
        inputs.append(
            Input(
                tensor.name, tensor.datatype, (*_batch(model, tensor), *_axes(model, tensor, shape, request))
            )
        )
    return Signature(tuple(inputs), alone=model.alone)


def _batch(model: ServedModel, tensor: ServedTensor) -> tuple[str, ...]:
    return (BATCH,) if model.batching and not tensor.shape_tensor else ()


def _axes(
    model: ServedModel, tensor: ServedTensor, shape: tuple[int | str, ...] | None, request: PointClass
) -> tuple[int | str, ...]:
    said = f"request class {request.name!r}"
    if shape is None:
        if -1 in tensor.dims and request.data is None:
            example = ", ".join("128" if size < 0 else str(size) for size in tensor.dims)
            raise InputError(
                f"{said} doesn't say the shape of input {tensor.name!r}, of which {model.name} leaves "
                f"{list(tensor.dims)} open: write for example `shapes: {{{tensor.name}: [{example}]}}`"
            )
        return tensor.dims
    sizes = tuple(
        own if isinstance(given, str) else given for given, own in zip(shape, tensor.dims, strict=False)
    )
    what = f"{said}: shapes.{tensor.name}"
    check_dims(what, sizes if len(shape) == len(tensor.dims) else (0,) * len(shape), tensor)
    for given, own in zip(shape, tensor.dims, strict=True):
        if isinstance(given, str) and own >= 0:
            raise InputError(
                f"{what} names the axis {given!r} where {model.name} has {own} and no other size"
            )
    return shape


def payloads(
    model: ServedModel, request: PointClass, *, base_dir: Path, count: int, seed: int
) -> tuple[Payload, ...]:
    """`count` requests at most; the same for the same seed. Those of `data` are what it has, in its order.

    Raises InputError where the class doesn't fit the model.
    """
    check_class(model, request, base_dir)
    if request.data is not None:
        return tuple(_batched(_steps(model, request, base_dir), model, request))[:count]
    signature = signature_of(model, request)
    generator = np.random.default_rng([seed, zlib.crc32(request.name.encode())])
    texts = _lines(request, base_dir, generator) if request.payload == "text" else None
    return tuple(Payload(_made(signature, request, generator, texts), {}) for _ in range(count))


def _made(
    signature: Signature, request: PointClass, generator: np.random.Generator, texts: Iterator[bytes] | None
) -> Tensors:
    sizes = {BATCH: request.batch, **request.axes}
    made: Tensors = {}
    for tensor in signature.inputs:
        shape = tensor.shape(sizes)
        if tensor.datatype == "BYTES":
            count = int(np.prod(shape))
            length = STRING_LENGTH if request.string_length is None else request.string_length
            strings = [_string(generator, length) if texts is None else next(texts) for _ in range(count)]
            made[tensor.name] = objects(strings).reshape(shape)
            continue
        own = (request.ranges or {}).get(tensor.name)
        low, high = (own.low, own.high) if own else (request.low, request.high)
        made[tensor.name] = values(tensor, shape, generator, low, high)
    return made


def _string(generator: np.random.Generator, length: int) -> bytes:
    """Printable ASCII."""
    return generator.integers(0x21, 0x7F, length, np.uint8).tobytes()


def _strings(signature: Signature) -> bool:
    return any(tensor.datatype == "BYTES" for tensor in signature.inputs)


def _lines(request: PointClass, base_dir: Path, generator: np.random.Generator) -> Iterator[bytes]:
    """Lines of real text, in a drawn order, again and again."""
    files = user_files(base_dir, request.folder, request.name) if request.folder is not None else (OPTICKS,)
    lines = [line.strip() for file in files for line in content(file).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"request class {request.name!r}: its files have no text: put some there")
    while True:
        for place in generator.permutation(len(lines)):
            yield lines[place]


def _check_nothing_beside(request: PointClass) -> None:
    for key in ("payload", "folder", "low", "ranges", "string_length"):
        if getattr(request, key) is not None:
            raise InputError(
                f"request class {request.name!r} has `data`, which is all that it sends: leave out `{key}`"
            )


def streams_of(model: ServedModel, request: PointClass, base_dir: Path) -> tuple[tuple[int, int], ...]:
    """Of a class whose sequences are streams of data: the number of the first payload of each, and its steps.
    Of any other none."""
    if request.sequence is None or request.data is None:
        return ()
    found, at = [], 0
    for stream in _streams(model, request, base_dir):
        found.append((at, len(stream)))
        at += len(stream)
    return tuple(found)


def _steps(model: ServedModel, request: PointClass, base_dir: Path) -> Sequence[Step]:
    found = [step for stream in _streams(model, request, base_dir) for step in stream]
    if len(found) < request.batch:
        raise InputError(
            f"data {request.data!r} of request class {request.name!r} has {len(found)} steps, and its batch "
            f"takes {request.batch}: lower the batch, or add some"
        )
    return found


def _streams(model: ServedModel, request: PointClass, base_dir: Path) -> tuple[tuple[Step, ...], ...]:
    assert request.data is not None
    what = f"data {request.data!r} of request class {request.name!r}"
    path = confined(base_dir, request.data, what)
    sizes = {}
    for name, shape in (request.shapes or {}).items():
        sizes[name] = tuple(request.axes[axis] if isinstance(axis, str) else axis for axis in shape)
    return streams(path, model, sizes)


def _batched(steps: Sequence[Step], model: ServedModel, request: PointClass) -> Iterator[Payload]:
    """Requests of so many steps that follow each other; what is left over at the end is in none."""
    for first in range(0, len(steps) - request.batch + 1, request.batch):
        together = steps[first : first + request.batch]
        if not model.batching:
            yield Payload(together[0].inputs, together[0].answers)
            continue
        alike = {tuple((name, a.shape) for name, a in sorted(step.inputs.items())) for step in together}
        if len(alike) > 1:
            raise InputError(
                f"data {request.data!r} of request class {request.name!r}: steps {first} to "
                f"{first + request.batch - 1} differ in their tensors or shapes, so that they are no batch: "
                "set batch to 1"
            )
        yield Payload(_with_batch([step.inputs for step in together], model, request), _answers(together))


def _with_batch(each: Sequence[Tensors], model: ServedModel, request: PointClass) -> Tensors:
    """All of them as one request; of a shape tensor it has one, that says how many there are."""
    shapes = {tensor.name: tensor for tensor in model.inputs if tensor.shape_tensor}
    others = [{name: a for name, a in tensors.items() if name not in shapes} for tensors in each]
    made = _stacked(others)
    for name, tensor in shapes.items():
        if name not in each[0]:
            continue
        first, *more = (tensors[name].ravel()[-int(np.prod(tensor.dims)) :] for tensors in each)
        if any(not np.array_equal(first, other) for other in more):
            raise InputError(
                f"data {request.data!r} of request class {request.name!r}: steps of one batch differ in "
                f"{name!r}, which is the shape of all of them: set batch to 1"
            )
        made[name] = np.concatenate([np.array([len(each)], first.dtype), first])
    return made


def _stacked(each: Sequence[Tensors]) -> Tensors:
    return {name: np.stack([tensors[name] for tensors in each]) for name in each[0]}


def _answers(together: Sequence[Step]) -> Tensors:
    """Of the outputs that are known for all of them."""
    names = set.intersection(*(set(step.answers) for step in together))
    known = [{name: step.answers[name] for name in sorted(names)} for step in together]
    shapes = {tuple(a.shape for a in answers.values()) for answers in known}
    return _stacked(known) if names and len(shapes) == 1 else {}
