"""Different payloads for one request class, drawn from a seed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.model import files, magika
from harness.model.check import check_axes, payload_kind
from harness.model.resolve import signature_of
from harness.model.shapes import values
from harness.model.signature import BATCH, Signature
from harness.model.text import OPTICKS, token_rows
from harness.schema.point import PointClass
from harness.schema.tensors import NUMPY, Tensors


def payloads(
    model: str, request: PointClass, *, base_dir: Path, count: int, seed: int
) -> tuple[Tensors, ...]:
    """`count` inputs for `model`, each of exactly the class's batch and axes; the same for the same seed.

    Text starts each row at another sentence; bytes take another file for each row until all were used, in
    the folder's sorted order (of the standard library: in a drawn one). Raises InputError where the class
    doesn't fit the model.
    """
    signature = signature_of(model, base_dir)
    check_axes(model, signature, request)
    kind = payload_kind(model, signature, request)
    generator = np.random.default_rng([seed, zlib.crc32(request.name.encode())])
    sizes = {BATCH: request.batch, **request.axes}
    if kind == "random":
        return tuple(_random(signature, request, sizes, generator) for _ in range(count))
    found = files.user_files(base_dir, request.folder, request.name) if request.folder is not None else None
    if kind == "text":
        return _text(signature, request, found, generator, count)
    return _bytes(signature, sizes, found, generator, count)


def _random(
    signature: Signature, request: PointClass, sizes: dict[str, int], generator: np.random.Generator
) -> Tensors:
    made: Tensors = {}
    for tensor in signature.inputs:
        own = (request.ranges or {}).get(tensor.name)
        low, high = (own.low, own.high) if own else (request.low, request.high)
        low, high = (tensor.low, tensor.high) if tensor.low is not None else (low, high)
        made[tensor.name] = values(tensor, tensor.shape(sizes), generator, low, high)
    return made


def _text(
    signature: Signature,
    request: PointClass,
    found: tuple[Path, ...] | None,
    generator: np.random.Generator,
    count: int,
) -> tuple[Tensors, ...]:
    texts = [files.content(path).decode("utf-8", errors="replace") for path in found or (OPTICKS,)]
    assert signature.tokenizer is not None  # payload_kind refuses text without one
    _, tokens = signature.inputs[0].shape({BATCH: request.batch, **request.axes})
    rows = token_rows(signature.tokenizer.get(), texts, tokens, count * request.batch, generator)
    made = []
    for ids in rows.reshape(count, request.batch, tokens):
        payload: Tensors = {}
        for tensor in signature.inputs:
            made_of = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            payload[tensor.name] = made_of.get(tensor.name, ids).astype(NUMPY[tensor.datatype])
        made.append(payload)
    return tuple(made)


def _bytes(
    signature: Signature,
    sizes: dict[str, int],
    found: tuple[Path, ...] | None,
    generator: np.random.Generator,
    count: int,
) -> tuple[Tensors, ...]:
    (tensor,) = signature.inputs
    batch, length = tensor.shape(sizes)
    order = found
    if order is None:
        library = files.standard_library()
        order = tuple(library[i] for i in generator.permutation(len(library)))
    needed = min(count * batch, len(order))
    kind = np.dtype(NUMPY[tensor.datatype])
    read = [files.content(path) for path in order[:needed]]
    rows = [magika.features(c) if signature.preparation == "magika" else _raw(c, length) for c in read]
    return tuple(
        {tensor.name: np.stack([rows[(first + i) % needed] for i in range(batch)]).astype(kind)}
        for first in range(0, count * batch, batch)
    )


def _raw(content: bytes, length: int) -> npt.NDArray[np.uint8]:
    """The first bytes as they are, zeros after a shorter file's end."""
    row = np.zeros(length, np.uint8)
    start = content[:length]
    row[: len(start)] = np.frombuffer(start, np.uint8)
    return row
