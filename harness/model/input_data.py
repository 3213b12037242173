"""Payloads that a user has: perf_analyzer's `--input-data` (a JSON file or a folder), .npz and .npy files.

The JSON is that of perf_analyzer's "Input Data" document: `data` has a step, or a stream of steps, for each
request; a tensor of a step is a list of values in row-major order, or a mapping with `content` or `b64`
(the tensor's bytes) and perhaps its `shape`; `validation_data`, of the same form, has the answers. A folder
has a file for each input, named as the input is: its bytes, or of BYTES a string a line.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from harness.model.files import content
from harness.plain_text import quoted
from harness.schema.errors import InputError
from harness.schema.faults import meant, short
from harness.schema.served_model import ServedModel, ServedTensor
from harness.schema.tensors import ANY_NUMPY, Tensors

LARGEST_BYTES = 1 << 30
"""Of a file of JSON, which takes several times as much memory."""
LARGEST_TENSORS = 1 << 32
"""Of a file that is tensors as they are sent."""

Shapes = Mapping[str, tuple[int, ...]]
"""By input, where the data doesn't say it: what the request class says, or the model's own."""


@dataclass(frozen=True, slots=True)
class Step:
    """The tensors of one request of one inference, without the axis of the batch."""

    inputs: Tensors
    answers: Tensors
    """What the model must say to it, as far as that is known."""


def streams(path: Path, model: ServedModel, shapes: Shapes) -> tuple[tuple[Step, ...], ...]:
    """What is at `path`, a stream of steps after another; what isn't of a sequence is one stream.

    Raises InputError, which begins with the path, for what can't be read or doesn't fit the model.
    """
    try:
        if path.is_dir():
            return ((_of_folder(path, model, shapes),),)
        of_numpy = path.suffix in (".npz", ".npy")
        most = LARGEST_TENSORS if of_numpy else LARGEST_BYTES
        if path.stat().st_size > most:
            raise InputError(f"has more than {most >> 20} MiB: give a smaller file")
        if of_numpy:
            return ((Step(_of_numpy(path, model), {}),),)
        return tuple(_of_json(content(path, LARGEST_BYTES), model, shapes))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(*(f"{path}: {sentence}" for sentence in error.args)) from error


def objects(strings: Sequence[bytes]) -> npt.NDArray[np.generic]:
    """A BYTES tensor of one axis."""
    made = np.empty(len(strings), np.object_)
    made[:] = strings
    return made


def _of_json(text: bytes, model: ServedModel, shapes: Shapes) -> Iterator[tuple[Step, ...]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is no JSON ({quoted(str(error), 200)}): mend it") from None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list) or not document["data"]:
        raise InputError("it has no list `data`: it must be as perf_analyzer's --input-data")
    data, answers = document["data"], document.get("validation_data")
    if answers is not None and (not isinstance(answers, list) or len(answers) != len(data)):
        raise InputError("`validation_data` must be a list that is as long as `data`")
    if isinstance(data[0], list):
        for number, steps in enumerate(data):
            where = f"data[{number}]"
            own = None if answers is None else answers[number]
            if not isinstance(steps, list) or not steps:
                raise InputError(f"{where} is no stream of steps, as data[0] is")
            if own is not None and (not isinstance(own, list) or len(own) != len(steps)):
                raise InputError(f"validation_data[{number}] must be a list that is as long as {where}")
            yield tuple(_steps(where, steps, own, model, shapes))
    else:
        yield tuple(_steps("data", data, answers, model, shapes))


def _steps(
    where: str, steps: Sequence[Any], answers: Sequence[Any] | None, model: ServedModel, shapes: Shapes
) -> Iterator[Step]:
    for number, step in enumerate(steps):
        here = f"{where}[{number}]"
        said = {} if answers is None else answers[number]
        own = {tensor.name: _shape(tensor, shapes) for tensor in model.inputs}
        # Of an answer nobody knows the size before.
        theirs = {tensor.name: tensor.dims for tensor in model.outputs}
        inputs = _tensors(here, step, model.inputs, own)
        answer = _tensors(here.replace("data", "validation_data", 1), said, model.outputs, theirs)
        _check_whole(here, inputs, model)
        yield Step(inputs, answer)


def _tensors(where: str, step: Any, known: Sequence[ServedTensor], shapes: Shapes) -> Tensors:
    if not isinstance(step, dict):
        raise InputError(f"{where} must be a mapping from names of tensors to their values")
    tensors = {tensor.name: tensor for tensor in known}
    found: Tensors = {}
    for name, value in step.items():
        if name not in tensors:
            near = meant(name, tensors)
            raise InputError(f"{where} names {short(name)!r}, which the model hasn't{near}")
        found[name] = _tensor(f"{where}.{name}", value, tensors[name], shapes[name])
    return found


def _tensor(where: str, value: Any, tensor: ServedTensor, dims: tuple[int, ...]) -> npt.NDArray[np.generic]:
    if isinstance(value, dict):
        if "shape" in value:
            dims = _dims_given(where, value["shape"], tensor)
        value = value.get("content", value)
        if isinstance(value, dict) and "b64" in value:
            return _of_bytes(where, _decoded(where, value["b64"]), tensor, dims)
    if not isinstance(value, list):
        raise InputError(f"{where} must be a list of values, or a mapping with `content` or `b64`")
    flat = list(_flat(value))
    return _shaped(where, _values(where, flat, tensor), dims)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _values(where: str, flat: Sequence[Any], tensor: ServedTensor) -> npt.NDArray[np.generic]:
    kind = np.dtype(ANY_NUMPY[tensor.datatype])
    a_float = tensor.datatype.startswith(("FP", "BF"))
    fits: tuple[type, ...] = {"O": (str,), "b": (bool, int)}.get(kind.kind, (int,))
    fits = (int, float) if a_float else fits
    for value in flat:
        if not isinstance(value, fits) or (isinstance(value, bool) and kind.kind != "b"):
            raise InputError(f"{where} has {short(repr(value))}, which is no {tensor.datatype}")
    if kind.kind == "O":
        return objects([value.encode() for value in flat])
    try:
        exact = np.array(flat, np.float64 if a_float else np.object_)
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            if any(not limits.min <= value <= limits.max for value in flat):
                raise OverflowError
        return exact.astype(kind)
    except OverflowError:
        raise InputError(f"{where} has a number that is too large for {tensor.datatype}") from None


def _decoded(where: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InputError(f"{where}.b64 is no base64") from None


def _of_bytes(where: str, raw: bytes, tensor: ServedTensor, dims: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """The tensor whose bytes these are, as a request has them on the wire."""
    if tensor.datatype == "BYTES":
        strings = _strings(raw)
        if strings is None or math.prod(dims) == 1 != len(strings):
            strings = [raw]  # without the length before it
        return _shaped(where, objects(strings), dims)
    kind = np.dtype(ANY_NUMPY[tensor.datatype])
    if len(raw) % kind.itemsize:
        raise InputError(f"{where} has {len(raw)} bytes, and {tensor.datatype} takes {kind.itemsize} a value")
    return _shaped(where, np.frombuffer(raw, kind), dims)


def _strings(raw: bytes) -> list[bytes] | None:
    """The elements of a BYTES tensor, each behind its length in 4 bytes; None where it isn't that."""
    found, at = [], 0
    while at < len(raw):
        if at + 4 > len(raw):
            return None
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + length > len(raw):
            return None
        found.append(raw[at : at + length])
        at += length
    return found


def _shaped(where: str, flat: npt.NDArray[np.generic], dims: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """With the sizes that `dims` leaves open as the values give them; of several, that can't be told."""
    known = math.prod(size for size in dims if size >= 0)
    unknown = [place for place, size in enumerate(dims) if size < 0]
    if len(unknown) > 1:
        raise InputError(
            f"{where} doesn't say its shape, and the model leaves {list(dims)} open: add `shape`"
        )
    if unknown and known and flat.size % known == 0:
        dims = tuple(flat.size // known if size < 0 else size for size in dims)
    if math.prod(dims) != flat.size:
        raise InputError(f"{where} has {flat.size} values, and its shape {list(dims)} takes another number")
    return flat.reshape(dims)


def _dims_given(where: str, shape: Any, tensor: ServedTensor) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError(f"{where}.shape must be a list of sizes")
    check_dims(where, tuple(shape), tensor)
    return tuple(shape)


def check_dims(where: str, shape: tuple[int, ...], tensor: ServedTensor) -> None:
    """Raise InputError where the tensor can't have this shape."""
    if tensor.shape_tensor and len(shape) == len(tensor.dims) == 1 and shape[0] == tensor.dims[0] + 1:
        return  # the batch is said, as perf_analyzer's data has it
    if len(shape) != len(tensor.dims) or any(
        own not in (-1, size) for own, size in zip(tensor.dims, shape, strict=True)
    ):
        raise InputError(f"{where} has the shape {list(shape)}, and the model takes {list(tensor.dims)}")


def _shape(tensor: ServedTensor, shapes: Shapes) -> tuple[int, ...]:
    return shapes.get(tensor.name, tensor.dims)


def _check_whole(where: str, inputs: Tensors, model: ServedModel) -> None:
    missing = [tensor.name for tensor in model.inputs if not tensor.optional and tensor.name not in inputs]
    if missing:
        raise InputError(f"{where} has no {missing[0]!r}, which the model needs")


def _of_folder(folder: Path, model: ServedModel, shapes: Shapes) -> Step:
    def read(tensor: ServedTensor, dims: tuple[int, ...]) -> npt.NDArray[np.generic]:
        raw = content(folder / tensor.name, LARGEST_TENSORS)
        if tensor.datatype == "BYTES":
            return _shaped(tensor.name, objects(raw.splitlines()), dims)
        return _of_bytes(tensor.name, raw, tensor, dims)

    def there(tensors: Sequence[ServedTensor]) -> Iterator[ServedTensor]:
        return (tensor for tensor in tensors if (folder / tensor.name).is_file())

    inputs = {tensor.name: read(tensor, _shape(tensor, shapes)) for tensor in there(model.inputs)}
    _check_whole("the folder", inputs, model)
    return Step(inputs, {tensor.name: read(tensor, tensor.dims) for tensor in there(model.outputs)})


def _of_numpy(path: Path, model: ServedModel) -> Tensors:
    try:
        found = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            needed = [tensor for tensor in model.inputs if not tensor.optional]
            if len(needed) != 1:
                raise InputError(
                    f"an .npy file is of one input, and the model has {len(needed)}: give an .npz"
                )
            arrays = {needed[0].name: found}
        else:
            arrays = {name: found[name] for name in found.files}
    except (ValueError, EOFError, BadZipFile, KeyError) as error:
        raise InputError(f"it can't be read ({quoted(str(error), 200)}): write it without objects") from None
    tensors = {tensor.name: tensor for tensor in model.inputs}
    made: Tensors = {}
    for name, array in arrays.items():
        if name not in tensors:
            near = meant(name, tensors)
            raise InputError(f"it names {short(name)!r}, which the model hasn't{near}")
        made[name] = _cast(name, array, tensors[name])
    _check_whole("it", made, model)
    return made


def _cast(name: str, array: npt.NDArray[Any], tensor: ServedTensor) -> npt.NDArray[np.generic]:
    check_dims(name, array.shape, tensor)
    kind = np.dtype(ANY_NUMPY[tensor.datatype])
    if kind.kind == "O":
        if array.dtype.kind not in "US":
            raise InputError(f"{name} is {array.dtype}, and the model takes strings")
        strings = [s.encode() if isinstance(s, str) else bytes(s) for s in array.ravel()]
        return objects(strings).reshape(array.shape)
    if not np.can_cast(array.dtype, kind, "same_kind"):
        raise InputError(f"{name} is {array.dtype}, and the model takes {tensor.datatype}")
    return array.astype(kind, copy=False)
